// The server predicts; the page shows.
import { decode, start } from './panel.js';

let maxBytes = 0; // set by the server, once it has described the model

const loading = request('about').then((response) => response.json()).then((about) => {
  maxBytes = about.max_bytes;
  return about;
});

function request(...args) {
  return fetch(...args).catch(() => {
    throw new Error('The server does not answer; was it stopped?');
  });
}

async function predict(file) {
  const answer = await ask(file);
  const image = await decode(file);
  return { ...answer, image, mask: answer.mask && (await readMask(answer.mask)) };
}

async function ask(file) {
  if (file.size > maxBytes) {
    throw new Error(`The file has ${Math.round(file.size / 2 ** 20)} MB, more than `
      + `${maxBytes / 2 ** 20}; make it smaller.`);
  }
  const response = await request('predict', { method: 'POST', body: file });
  if (response.status === 503) throw new Error('The server is busy; try again later.');
  const answer = await response.json().catch(() => {
    throw new Error('The server failed; see the error in its terminal.');
  });
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

async function readMask(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  const { width, height } = image;
  const context = new OffscreenCanvas(width, height).getContext('2d');
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  const labels = Uint8Array.from({ length: width * height }, (_, i) => data[4 * i]);
  return { width, height, labels };
}

start(loading, predict);
