"""What readers share, and the sources that are no public set: drawn faces, a user's own folder."""
