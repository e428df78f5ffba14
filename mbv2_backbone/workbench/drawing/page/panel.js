// The page around a prediction: drop zone, message, threshold, classes, tables and drawing.
// Everything is drawn here: changing the threshold or the classes predicts nothing anew.
import { css, drawFound } from './draw.js';

export const byId = (id) => document.getElementById(id);

let about = null; // name, threshold, and the classes of boxes, masks and images with their colours
let predictFile = null;
let ready = null; // resolves once `about` is known
const hidden = new Set(); // names of classes
let shown = null; // what `show` got last
let newest = 0;

// `loading` resolves to `about`; `predict` takes a file and returns what `show` takes.
export function start(loading, predict) {
  predictFile = predict;
  ready = loading.then((answer) => {
    about = answer;
    byId('model').textContent = about.name;
    byId('threshold').value = about.threshold;
  });
  // Only what needs `about` waits for it, so an image dropped earlier is not lost.
  ready.catch((error) => say(error.message, true));
}

export function say(text, isError = false) {
  byId('message').textContent = text;
  byId('message').classList.toggle('error', isError);
}

// Runs `work`, and shows what it returns unless another run began meanwhile.
export async function run(name, work) {
  newest += 1;
  const mine = newest;
  try {
    await ready;
    const found = await work();
    if (mine !== newest) return;
    say(name);
    show(found);
  } catch (error) {
    if (mine === newest) say(error.message, true);
  }
}

export function decode(file, options = {}) {
  return createImageBitmap(file, options).catch(() => {
    throw new Error('This browser cannot show the file; save it as JPEG or PNG.');
  });
}

// `found` has the image, its width and height, boxes, mask, areas (the share of each label in the
// mask), likeliest (label and score of the image's classes) and the milliseconds that it took.
function show(found) {
  shown = found;
  const boxNames = found.boxes.map(({ label }) => about.boxes[label]);
  const areas = Object.entries(found.areas ?? {}).sort((a, b) => b[1] - a[1]);
  const maskNames = areas.map(([label]) => about.masks[label]);
  byId('found').hidden = byId('drawing').hidden = false;
  byId('box-part').hidden = byId('boxes').hidden = !about.boxes.length;
  byId('areas').hidden = !found.mask;
  const likeliest = found.likeliest ?? [];
  byId('likeliest').hidden = !likeliest.length;
  fillRows('likeliest', likeliest.map(({ label, score }) =>
    [about.images[label].name, `${(100 * score).toFixed(1)} %`]));
  byId('time').textContent =
    `${found.width} x ${found.height} pixels, predicted in ${found.milliseconds} ms`;
  byId('total').textContent = found.boxes.length;
  fillRows('areas', areas.map(([label, share]) =>
    [about.masks[label].name, `${(100 * share).toFixed(1)} %`]));
  const colours = new Map([...maskNames, ...boxNames].map(({ name, colour }) => [name, colour]));
  byId('classes').parentElement.hidden = Boolean(likeliest.length) && !colours.size;
  byId('classes').replaceChildren(...[...colours].map(([name, colour]) => toggle(name, colour)));
  draw();
}

function toggle(name, colour) {
  const item = document.createElement('li');
  const label = item.appendChild(document.createElement('label'));
  const box = label.appendChild(document.createElement('input'));
  box.type = 'checkbox';
  box.checked = !hidden.has(name);
  box.addEventListener('change', () => {
    if (box.checked) hidden.delete(name);
    else hidden.add(name);
    draw();
  });
  const swatch = label.appendChild(document.createElement('span'));
  swatch.className = 'swatch';
  swatch.style.background = css(colour);
  label.append(name);
  return item;
}

function fillRows(id, rows) {
  byId(id).tBodies[0].replaceChildren(...rows.map((cells) => {
    const row = document.createElement('tr');
    for (const cell of cells) row.insertCell().textContent = cell;
    return row;
  }));
}

function draw() {
  const threshold = Number(byId('threshold').value);
  const boxes = shown.boxes.filter(({ label, score }) =>
    score >= threshold && !hidden.has(about.boxes[label].name));
  byId('least').textContent = threshold.toFixed(2);
  byId('count').textContent = boxes.length;
  fillRows('boxes', boxes.map(({ label, score, xyxy: [left, top, right, bottom] }) =>
    [about.boxes[label].name, score.toFixed(2),
      ...[left, top, right - left, bottom - top].map(Math.round)]));
  drawFound(byId('drawing'), { ...shown, boxes, about, hidden });
}

function take(file) {
  say('Predicting …');
  run(file.name, () => predictFile(file));
}

byId('threshold').addEventListener('input', draw);
byId('file').addEventListener('change', ({ target }) => {
  if (target.files.length) take(target.files[0]);
  target.value = ''; // so that the same file can be chosen again
});
for (const kind of ['dragenter', 'dragover', 'dragleave', 'drop']) {
  // On the whole page: outside the box, the browser would open the file instead.
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    byId('drop').classList.toggle('over', kind === 'dragenter' || kind === 'dragover');
  });
}
document.addEventListener('drop', ({ dataTransfer }) => {
  if (dataTransfer.files.length) take(dataTransfer.files[0]);
});
