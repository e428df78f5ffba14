// The middle of an image, as a classifier sees it; see `centre_view` in deploy/class_view.py.
import { legacyResize, roundHalfToEven } from './resize.js';

const COEFFICIENT_PLACES = 2 ** 22; // Pillow's, of 8-bit images
const KERNELS = {
  bilinear: { reach: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: { reach: 2, weight: cubic },
};

function cubic(signed) {
  const x = Math.abs(signed);
  const a = -0.5;
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

// Images are { width, height, data } with 4 channels; the result has 3, row by row.
export function centreView(image, { size, resize, interpolation }) {
  const { width, height } = image;
  if (interpolation === 'legacy') {
    const share = size / resize;
    const [left, top] = [width, height].map((side) => Math.trunc((side - side * share) / 2));
    return legacyResize(cut(image, left, top), size, size);
  }
  const shorter = Math.min(width, height);
  const [columns, rows] = [width, height].map((old) => {
    const side = old === shorter ? resize : Math.trunc((resize * old) / shorter);
    return taps(old, side, roundHalfToEven((side - size) / 2), size, KERNELS[interpolation]);
  });
  return resizedColumns(resizedRows(image, columns), size, rows);
}

function cut({ width, height, data }, left, top) {
  const [newWidth, newHeight] = [width - 2 * left, height - 2 * top];
  const part = new Uint8ClampedArray(newWidth * newHeight * 4);
  for (let y = 0; y < newHeight; y += 1) {
    const start = 4 * ((y + top) * width + left);
    part.set(data.subarray(start, start + 4 * newWidth), 4 * y * newWidth);
  }
  return { width: newWidth, height: newHeight, data: part };
}

// For `count` new pixels from `first` on: the old one that each begins at, and Pillow's weights.
function taps(old, side, first, count, { reach, weight }) {
  const scale = old / side;
  const stretch = Math.max(scale, 1);
  return Array.from({ length: count }, (_, i) => {
    const centre = (first + i + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - reach * stretch + 0.5));
    const end = Math.min(old, Math.trunc(centre + reach * stretch + 0.5));
    const weights = Array.from({ length: end - start }, (__, k) =>
      weight((k + start - centre + 0.5) * (1 / stretch)));
    const sum = weights.reduce((total, value) => total + value, 0);
    return { start, weights: weights.map((value) => {
      const scaled = (sum === 0 ? value : value / sum) * COEFFICIENT_PLACES;
      return Math.trunc(scaled + (scaled < 0 ? -0.5 : 0.5));
    }) };
  });
}

function resizedRows({ width, height, data }, columns) {
  const result = new Uint8ClampedArray(height * columns.length * 3);
  for (let y = 0, at = 0; y < height; y += 1) {
    for (const { start, weights } of columns) {
      const from = 4 * (y * width + start);
      for (let channel = from; channel < from + 3; channel += 1, at += 1) {
        result[at] = mixed(data, channel, 4, weights);
      }
    }
  }
  return result;
}

function resizedColumns(data, width, rows) {
  const result = new Uint8Array(rows.length * width * 3);
  rows.forEach(({ start, weights }, y) => {
    for (let x = 0; x < width * 3; x += 1) {
      const value = mixed(data, start * width * 3 + x, width * 3, weights);
      result[y * width * 3 + x] = Math.min(Math.max(value, 0), 255);
    }
  });
  return result;
}

function mixed(data, from, step, weights) {
  let sum = COEFFICIENT_PLACES / 2;
  for (let k = 0; k < weights.length; k += 1) sum += data[from + k * step] * weights[k];
  return Math.floor(sum / COEFFICIENT_PLACES);
}
