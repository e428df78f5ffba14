// Images before and results after the network, as deploy/image.py does it.
import { legacyResize, resize } from './resize.js';
import { centreView } from './centre.js';

// Resizes, pads or cuts an image of getImageData to the network's input; returns the input's values, row
// by row, and the width and height that the image has in it, from the upper left corner.
export function place(image, rules) {
  const [inputHeight, inputWidth] = rules.input_size;
  if (rules.fit === 'stretch') {
    const fit = rules.interpolation === 'legacy' ? legacyResize : resize;
    const values = fit(image, inputWidth, inputHeight);
    return { values, width: inputWidth, height: inputHeight };
  }
  if (rules.fit === 'centre') {
    const values = centreView(image, { ...rules, size: inputHeight });
    return { values, width: inputWidth, height: inputHeight };
  }
  const sides = [image.width, image.height];
  const limits = rules.within
    ? [rules.within[0] / Math.max(...sides), rules.within[1] / Math.min(...sides)] : [1];
  const factor = Math.min(inputHeight / image.height, inputWidth / image.width, ...limits);
  const [width, height] = sides.map((side) => Math.max(1, Math.floor(side * factor + 0.5)));
  const values = new Uint8Array(inputWidth * inputHeight * 3);
  for (let i = 0; i < values.length; i += 1) values[i] = rules.pad_value[i % 3];
  const resized = resize(image, width, height);
  for (let y = 0; y < height; y += 1) {
    values.set(resized.subarray(3 * y * width, 3 * (y + 1) * width), 3 * y * inputWidth);
  }
  return { values, width, height };
}

// Maps the boxes of the network to pixels of the image, clipped to it.
export function boxesBack({ boxes, scores, labels }, image, placed) {
  const scales = [image.width / placed.width, image.height / placed.height];
  const limits = [image.width, image.height];
  const found = [];
  for (let i = 0; i < scores.data.length; i += 1) {
    const label = Number(labels.data[i]);
    if (label < 0) continue; // no box
    const xyxy = Array.from(boxes.data.subarray(4 * i, 4 * i + 4), (value, side) =>
      Math.min(Math.max(value * scales[side % 2], 0), limits[side % 2]));
    found.push({ label, score: scores.data[i], xyxy });
  }
  return found;
}

// Maps the mask of the network to the image: where the classes around a pixel differ, the logits
// are resized and the best one is taken.
export function maskBack({ mask, logits }, image, placed, alignCorners) {
  const { width, height } = image;
  const inputWidth = mask.dims[2];
  const labels = new mask.data.constructor(width * height);
  if (width === placed.width && height === placed.height) {
    for (let y = 0; y < height; y += 1) {
      labels.set(mask.data.subarray(y * inputWidth, y * inputWidth + width), y * width);
    }
    return { width, height, labels };
  }
  const rows = cellsAround(placed.height, height, alignCorners);
  const columns = cellsAround(placed.width, width, alignCorners);
  const bestBetween = resizedLogits(logits);
  for (let y = 0, at = 0; y < height; y += 1) {
    const upper = rows.before[y] * inputWidth;
    const lower = rows.after[y] * inputWidth;
    for (let x = 0; x < width; x += 1, at += 1) {
      const [left, right] = [columns.before[x], columns.after[x]];
      const label = mask.data[upper + left];
      const isBorder = label !== mask.data[upper + right] || label !== mask.data[lower + left]
        || label !== mask.data[lower + right];
      labels[at] = isBorder
        ? bestBetween([upper, lower, rows.share[y]], [left, right, columns.share[x]]) : label;
    }
  }
  return { width, height, labels };
}

// Returns a function that gives the best class between four cells, in float32.
function resizedLogits({ data, dims: [, numClasses, height, width] }) {
  const { fround } = Math;
  const between = (a, b, share) => fround(fround(fround(1 - share) * a) + fround(share * b));
  return ([upper, lower, down], [left, right, along]) => {
    let best = 0;
    let most = -Infinity;
    for (let label = 0; label < numClasses; label += 1) {
      const start = label * height * width;
      const above = between(data[start + upper + left], data[start + upper + right], along);
      const below = between(data[start + lower + left], data[start + lower + right], along);
      const value = between(above, below, down);
      if (value > most) [best, most] = [label, value];
    }
    return best;
  };
}

// The two old cells around each new one, and the weight of the second.
function cellsAround(old, size, alignCorners) {
  const before = new Int32Array(size);
  const after = new Int32Array(size);
  const share = new Float32Array(size);
  for (let i = 0; i < size; i += 1) {
    const position = alignCorners
      ? i * ((old - 1) / Math.max(size - 1, 1)) : Math.max((i + 0.5) * (old / size) - 0.5, 0);
    before[i] = Math.min(Math.floor(position), old - 1);
    after[i] = Math.min(before[i] + 1, old - 1);
    share[i] = position - before[i];
  }
  return { before, after, share };
}

// The likeliest classes of a whole image, the best first.
export function likeliestOf(probabilities, count) {
  const found = Array.from(probabilities, (score, label) => ({ label, score }));
  return found.sort((a, b) => b.score - a.score).slice(0, count);
}

// The share of the image that each label of a mask has, by label.
export function areasOf({ labels }) {
  const areas = {};
  for (const label of labels) areas[label] = (areas[label] ?? 0) + 1;
  for (const label of Object.keys(areas)) areas[label] /= labels.length;
  return areas;
}
