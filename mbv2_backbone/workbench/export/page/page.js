// The page of an exported model: everything runs in the browser, no image leaves it.
import { addCamera } from './camera.js';
import { loadNetwork } from './network.js';
import { byId, decode, say, start } from './panel.js';
import { areasOf, boxesBack, likeliestOf, maskBack, place } from './place.js';

const FIRST_THRESHOLD = 0.3;
const exported = JSON.parse(byId('exported').textContent); // what to_web.py writes
const { metadata, numLikeliest } = exported;
const { detection, segmentation, classification } = metadata;
const network = loadNetwork(metadata, exported);

function coloured(rules) {
  return (rules?.classes ?? []).map((name, i) => ({ name, colour: rules.palette[i] }));
}

const loading = network.then(({ where }) => {
  say('');
  return {
    name: `${exported.name} on ${where}`,
    threshold: FIRST_THRESHOLD,
    boxes: coloured(detection),
    masks: coloured(segmentation),
    images: coloured(classification),
  };
}, (error) => {
  throw new Error(`The model cannot be loaded: ${error.message}`);
});

function pixelsOf(image) {
  const canvas = new OffscreenCanvas(image.width, image.height);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, image.width, image.height);
}

// Returns what the panel shows for an ImageBitmap.
async function predict(image) {
  const begin = performance.now();
  const pixels = pixelsOf(image);
  const placed = place(pixels, metadata);
  const isResized = image.width !== placed.width || image.height !== placed.height;
  const names = [
    ...(detection ? ['boxes', 'scores', 'labels'] : []),
    ...(segmentation ? ['mask'] : []),
    ...(segmentation && isResized ? ['logits'] : []),
    ...(classification ? ['probabilities'] : []),
  ];
  const outputs = await (await network).run(placed.values, names);
  const boxes = detection ? boxesBack(outputs, pixels, placed) : [];
  const mask = segmentation
    ? maskBack(outputs, pixels, placed, segmentation.align_corners) : null;
  const likeliest = classification ? likeliestOf(outputs.probabilities.data, numLikeliest) : null;
  const milliseconds = Math.round(10 * (performance.now() - begin)) / 10;
  const areas = mask && areasOf(mask);
  const { width, height } = image;
  return { image, width, height, boxes, mask, areas, likeliest, milliseconds };
}

// Photos are turned by their EXIF data, as in training; no colour profile is applied, as there.
export async function predictPhoto(file) {
  return predict(await decode(file, { colorSpaceConversion: 'none' }));
}

start(loading, predictPhoto);
addCamera(predict);
