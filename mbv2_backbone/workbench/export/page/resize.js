// Bilinear resizing as in training: canvas gives other pixels, and so other boxes.
// Images are { width, height, data } with 4 channels, as getImageData returns them; results have
// 3 channels, row by row.
const COEFFICIENT_BITS = 11;
const ONE = 2 ** COEFFICIENT_BITS;

// As OpenCV's cv2.resize of 8-bit images (INTER_LINEAR), bit for bit: weights of 11 bits, and
// products of which the lowest bits are dropped.
export function resize(image, width, height) {
  if (image.width === width && image.height === height) return withoutAlpha(image.data);
  if (image.width === 2 * width && image.height === 2 * height) return halved(image, width, height);
  const columns = neighbours(image.width, width, true);
  const rows = neighbours(image.height, height, false);
  const lines = new Map(); // horizontally resized rows of the image, by their number
  const result = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y += 1) {
    for (const row of lines.keys()) if (row < rows.before[y]) lines.delete(row);
    const [upper, lower] = [rows.before[y], rows.after[y]].map((row) => {
      if (!lines.has(row)) lines.set(row, resizedLine(image, row, columns));
      return lines.get(row);
    });
    const [above, below] = [rows.first[y], rows.second[y]];
    for (let x = 0, at = y * width * 3; x < width * 3; x += 1, at += 1) {
      result[at] = (((above * (upper[x] >> 4)) >> 16) + ((below * (lower[x] >> 4)) >> 16) + 2) >> 2;
    }
  }
  return result;
}

function resizedLine({ width, data }, row, { before, after, first, second }) {
  const line = new Int32Array(before.length * 3);
  for (let x = 0; x < before.length; x += 1) {
    const left = 4 * (row * width + before[x]);
    const right = 4 * (row * width + after[x]);
    for (let channel = 0; channel < 3; channel += 1) {
      line[3 * x + channel] = data[left + channel] * first[x] + data[right + channel] * second[x];
    }
  }
  return line;
}

// For each new pixel the two old ones around it and their weights. At the borders OpenCV drops the
// share of the pixel outside along a row, but not along a column.
function neighbours(old, size, dropsOutside) {
  const [before, after, first, second] = Array.from({ length: 4 }, () => new Int32Array(size));
  const scale = 1 / (size / old);
  for (let i = 0; i < size; i += 1) {
    const position = Math.fround((i + 0.5) * scale - 0.5);
    const floor = Math.floor(position);
    let share = Math.fround(position - floor);
    if (dropsOutside && (floor < 0 || floor >= old - 1)) share = 0;
    before[i] = Math.min(Math.max(floor, 0), old - 1);
    after[i] = Math.min(Math.max(floor + 1, 0), old - 1);
    first[i] = roundHalfToEven(Math.fround(1 - share) * ONE);
    second[i] = roundHalfToEven(share * ONE);
  }
  return { before, after, first, second };
}

export function roundHalfToEven(value) {
  const floor = Math.floor(value);
  return value - floor === 0.5 ? floor + (floor % 2) : Math.round(value);
}

// OpenCV takes the mean of four pixels where both sides are exactly halved.
function halved({ width: old, data }, width, height) {
  const result = new Uint8Array(width * height * 3);
  for (let y = 0, at = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const corner = 4 * (2 * y * old + 2 * x);
      for (let channel = corner; channel < corner + 3; channel += 1, at += 1) {
        const upper = data[channel] + data[channel + 4];
        const lower = data[channel + 4 * old] + data[channel + 4 * old + 4];
        result[at] = (upper + lower + 2) >> 2;
      }
    }
  }
  return result;
}

function withoutAlpha(data) {
  const result = new Uint8Array((data.length / 4) * 3);
  for (let from = 0, to = 0; from < data.length; from += 4, to += 3) {
    result[to] = data[from];
    result[to + 1] = data[from + 1];
    result[to + 2] = data[from + 2];
  }
  return result;
}

// As TensorFlow 1 does by default, to float32; see `legacy_resize` in deploy/image.py.
export function legacyResize({ width: oldWidth, height: oldHeight, data }, width, height) {
  const { fround } = Math;
  const result = new Float32Array(width * height * 3);
  const places = (old, size) => Array.from({ length: size }, (_, i) => {
    const position = fround(i * fround(old / size));
    const before = Math.floor(position);
    return { before, after: Math.min(before + 1, old - 1), share: fround(position - before) };
  });
  const between = (a, b, share) => fround(fround(a * fround(1 - share)) + fround(b * share));
  const columns = places(oldWidth, width);
  places(oldHeight, height).forEach((row, y) => columns.forEach((column, x) => {
    for (let channel = 0; channel < 3; channel += 1) {
      const pixel = (line, place) => data[4 * (line * oldWidth + place) + channel];
      const [upper, lower] = [row.before, row.after].map((line) =>
        between(pixel(line, column.before), pixel(line, column.after), column.share));
      result[3 * (y * width + x) + channel] = between(upper, lower, row.share);
    }
  }));
  return result;
}
