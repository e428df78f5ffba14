// A button that predicts on the camera's frames, one after the other, until it is pressed again.
import { byId, run, say } from './panel.js';

export function addCamera(predict) {
  const button = document.createElement('button');
  button.id = 'camera';
  button.textContent = 'Use the camera';
  byId('drop').after(button);
  if (!navigator.mediaDevices) {
    button.disabled = true;
    button.title = 'Browsers give the camera only to https, localhost and files.';
  }
  let stream = null;

  function stop() {
    for (const track of stream?.getTracks() ?? []) track.stop();
    stream = null;
    button.textContent = 'Use the camera';
  }

  async function start() {
    say('Waiting for the camera …');
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment' } });
    } catch (error) {
      say(`The camera cannot be used: ${error.message}`, true);
      return;
    }
    button.textContent = 'Stop the camera';
    const video = document.createElement('video');
    Object.assign(video, { srcObject: stream, muted: true, playsInline: true });
    await video.play();
    const mine = stream;
    while (stream === mine && stream.active) {
      await run('Camera', async () => predict(await createImageBitmap(video)));
      await new Promise(requestAnimationFrame);
    }
  }

  button.addEventListener('click', () => (stream ? stop() : start()));
  for (const event of ['change', 'drop']) document.addEventListener(event, ({ target }) => {
    if (event === 'drop' || target.id === 'file') stop();
  });
}
