// The camera: opened on demand, its faults as states, its frames as small JPEG files.

const LONGEST_SIDE = 640;
const QUALITY = 0.8;

const KINDS = {
  NotAllowedError: "denied",
  SecurityError: "denied",
  NotFoundError: "none",
  OverconstrainedError: "none",
  NotReadableError: "used",
  AbortError: "used",
};

/** Why a camera did not start: a state of states.js. */
export const faultOf = (error) => KINDS[error.name] ?? "other";

/** Open a camera; rejects with an error that `faultOf` understands. */
export async function openCamera(device) {
  const size = { width: { ideal: LONGEST_SIDE }, height: { ideal: 480 }, frameRate: { ideal: 30 } };
  const which = device ? { deviceId: { exact: device } } : { facingMode: "user" };
  return navigator.mediaDevices.getUserMedia({ audio: false, video: { ...size, ...which } });
}

/** The cameras, with names once one was allowed. */
export async function cameras() {
  const devices = await navigator.mediaDevices.enumerateDevices();
  return devices.filter((device) => device.kind === "videoinput");
}

/** Call `then(frames)` at each new frame of a video, with how many have come since the last call. */
export function eachFrame(video, then) {
  let last = null;
  if ("requestVideoFrameCallback" in HTMLVideoElement.prototype) {
    const next = (now, { presentedFrames }) => {
      then(last === null ? 1 : Math.max(1, presentedFrames - last));
      last = presentedFrames;
      video.requestVideoFrameCallback(next);
    };
    video.requestVideoFrameCallback(next);
    return;
  }
  const look = () => {
    if (video.currentTime !== last && video.readyState >= 2) {
      last = video.currentTime;
      then(1);
    }
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}

/** Frames of a video, shrunk and encoded; a frame's canvas is used again once it is given back. */
export class Grabber {
  #free = [];

  constructor(video) {
    this.video = video;
  }

  /** The frame that is shown now: its canvas, its JPEG file and when it was taken. */
  async grab() {
    const { videoWidth, videoHeight } = this.video;
    const shrink = Math.min(1, LONGEST_SIDE / Math.max(videoWidth, videoHeight));
    const width = Math.round(videoWidth * shrink),
      height = Math.round(videoHeight * shrink);
    const canvas = this.#free.pop() ?? document.createElement("canvas");
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const taken = performance.now();
    // Kept in the processor's memory, where the encoder reads it.
    canvas
      .getContext("2d", { alpha: false, willReadFrequently: true })
      .drawImage(this.video, 0, 0, width, height);
    const blob = await new Promise((done) => {
      canvas.toBlob(done, "image/jpeg", QUALITY);
    });
    return { canvas, blob, taken };
  }

  giveBack(frame) {
    this.#free.push(frame.canvas);
  }
}
