// Everything is drawn here: changing the threshold or the classes sends no request.
const OPACITY = 0.55;
const VIEW_SIDES = [960, 1600]; // smallest and largest, so that letters are sharp
const byId = (id) => document.getElementById(id);
const css = ([red, green, blue]) => `rgb(${red} ${green} ${blue})`;

let about = null; // facts about the model from the server, set once `ready` resolves
const hidden = new Set(); // names of classes
let shown = null; // { image, answer, mask } for the newest image
let newest = 0;

// Only what needs `about` waits for it, so an image dropped earlier is not lost.
const ready = request('about').then((response) => response.json()).then((answer) => {
  about = answer;
  byId('model').textContent = about.name;
  byId('threshold').value = about.threshold;
});

function request(...args) {
  return fetch(...args).catch(() => {
    throw new Error('The server does not answer; was it stopped?');
  });
}

function say(text, isError = false) {
  byId('message').textContent = text;
  byId('message').classList.toggle('error', isError);
}

async function predict(file) {
  const mine = ++newest;
  say('Predicting …');
  try {
    await ready;
    const answer = await ask(file);
    const image = await createImageBitmap(file).catch(() => {
      throw new Error('This browser cannot show the file; save it as JPEG or PNG.');
    });
    const mask = answer.mask && (await readMask(answer.mask));
    if (mine !== newest) return; // another image came meanwhile
    shown = { image, answer, mask };
    say(file.name);
    showFound();
  } catch (error) {
    if (mine === newest) say(error.message, true);
  }
}

async function ask(file) {
  if (file.size > about.max_bytes) {
    throw new Error(`The file has ${Math.round(file.size / 2 ** 20)} MB, more than `
      + `${about.max_bytes / 2 ** 20}; make it smaller.`);
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
  const canvas = new OffscreenCanvas(image.width, image.height);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, image.width, image.height);
}

function showFound() {
  const { answer } = shown;
  const boxNames = answer.boxes.map(({ label }) => about.boxes[label]);
  const areas = Object.entries(answer.areas ?? {}).sort((a, b) => b[1] - a[1]);
  const maskNames = areas.map(([label]) => about.masks[label]);
  byId('found').hidden = byId('drawing').hidden = false;
  byId('box-part').hidden = byId('boxes').hidden = !about.boxes.length;
  byId('areas').hidden = !answer.mask;
  byId('time').textContent =
    `${answer.width} x ${answer.height} pixels, predicted in ${answer.milliseconds} ms`;
  byId('total').textContent = answer.boxes.length;
  fillRows('areas', areas.map(([label, share]) =>
    [about.masks[label].name, `${(100 * share).toFixed(1)} %`]));
  const colours = new Map([...maskNames, ...boxNames].map(({ name, colour }) => [name, colour]));
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
  const { image, answer, mask } = shown;
  const threshold = Number(byId('threshold').value);
  const boxes = answer.boxes.filter(({ label, score }) =>
    score >= threshold && !hidden.has(about.boxes[label].name));
  byId('least').textContent = threshold.toFixed(2);
  byId('count').textContent = boxes.length;
  fillRows('boxes', boxes.map(({ label, score, xyxy: [left, top, right, bottom] }) =>
    [about.boxes[label].name, score.toFixed(2),
      ...[left, top, right - left, bottom - top].map(Math.round)]));

  const canvas = byId('drawing');
  const side = Math.max(answer.width, answer.height);
  const scale = Math.min(Math.max(side, VIEW_SIDES[0]), VIEW_SIDES[1]) / side;
  canvas.width = Math.round(answer.width * scale);
  canvas.height = Math.round(answer.height * scale);
  const context = canvas.getContext('2d');
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  if (mask) drawMask(context, mask);
  // The best one last, on top of the others.
  for (const box of boxes.toReversed()) drawBox(context, box, canvas.width / answer.width);
}

function drawMask(context, mask) {
  const colours = new Uint8ClampedArray(4 * 256); // of each label: red, green, blue, opacity
  about.masks.forEach(({ name, colour }, label) => {
    if (!hidden.has(name)) colours.set([...colour, 255 * OPACITY], 4 * label);
  });
  const colourOf = new Uint32Array(colours.buffer);
  const pixels = new ImageData(mask.width, mask.height);
  const drawn = new Uint32Array(pixels.data.buffer);
  for (let i = 0; i < drawn.length; i += 1) drawn[i] = colourOf[mask.data[4 * i]];
  const layer = new OffscreenCanvas(mask.width, mask.height);
  layer.getContext('2d').putImageData(pixels, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(layer, 0, 0, context.canvas.width, context.canvas.height);
}

function drawBox(context, { label, score, xyxy }, scale) {
  const { name, colour } = about.boxes[label];
  const [left, top, right, bottom] = xyxy.map((v) => v * scale);
  const side = Math.min(context.canvas.width, context.canvas.height);
  const letters = Math.min(24, Math.max(9, side / 28));
  const text = `${name} ${score.toFixed(2)}`;
  context.lineWidth = Math.max(1.5, letters / 6);
  context.strokeStyle = context.fillStyle = css(colour);
  context.strokeRect(left, top, right - left, bottom - top);
  context.font = `${letters}px system-ui, sans-serif`;
  const width = context.measureText(text).width + letters / 2;
  const height = letters * 1.3;
  const x = Math.max(0, Math.min(left, context.canvas.width - width));
  const y = top >= height ? top - height : Math.max(0, top);
  context.fillRect(x, y, width, height);
  const [red, green, blue] = colour;
  context.fillStyle = 0.299 * red + 0.587 * green + 0.114 * blue > 140 ? 'black' : 'white';
  context.textBaseline = 'middle';
  context.fillText(text, x + letters / 4, y + height / 2);
}

const drop = byId('drop');
byId('threshold').addEventListener('input', draw);
byId('file').addEventListener('change', ({ target }) => {
  if (target.files.length) predict(target.files[0]);
  target.value = ''; // so that the same file can be chosen again
});
for (const kind of ['dragenter', 'dragover', 'dragleave', 'drop']) {
  // On the whole page: outside the box, the browser would open the file instead.
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle('over', kind === 'dragenter' || kind === 'dragover');
  });
}
document.addEventListener('drop', ({ dataTransfer }) => {
  if (dataTransfer.files.length) predict(dataTransfer.files[0]);
});
