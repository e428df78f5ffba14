// Draws an image with boxes and a mask on a canvas.
const OPACITY = 0.55;
const VIEW_SIDES = [960, 1600]; // smallest and largest, so that letters are sharp

export const css = ([red, green, blue]) => `rgb(${red} ${green} ${blue})`;

// `mask` is { width, height, labels } or null, with a label per pixel; `boxes` are { label, score,
// xyxy }, the best first; `about` has name and colour of each label; `hidden` has names.
export function drawFound(canvas, { image, width, height, boxes, mask, about, hidden }) {
  const side = Math.max(width, height);
  const scale = Math.min(Math.max(side, VIEW_SIDES[0]), VIEW_SIDES[1]) / side;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext('2d');
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  if (mask) drawMask(context, mask, about.masks, hidden);
  // The best one last, on top of the others.
  for (const box of boxes.toReversed()) {
    drawBox(context, box, about.boxes[box.label], canvas.width / width);
  }
}

function drawMask(context, { width, height, labels }, classes, hidden) {
  const colours = new Uint8ClampedArray(4 * classes.length); // red, green, blue, opacity
  classes.forEach(({ name, colour }, label) => {
    if (!hidden.has(name)) colours.set([...colour, 255 * OPACITY], 4 * label);
  });
  const colourOf = new Uint32Array(colours.buffer);
  const pixels = new ImageData(width, height);
  const drawn = new Uint32Array(pixels.data.buffer);
  for (let i = 0; i < drawn.length; i += 1) drawn[i] = colourOf[labels[i]];
  const layer = new OffscreenCanvas(width, height);
  layer.getContext('2d').putImageData(pixels, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(layer, 0, 0, context.canvas.width, context.canvas.height);
}

function drawBox(context, { score, xyxy }, { name, colour }, scale) {
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
