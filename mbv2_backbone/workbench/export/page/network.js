// The exported model under onnxruntime-web: on a real GPU through WebGPU, else in WebAssembly.
import { importFile, readFile } from './files.js';

const MAX_THREADS = 4; // more gain little, and leave none for the page
const BUILDS = { // module and WebAssembly for each execution provider
  wasm: ['ort/ort.wasm.bundle.min.mjs', 'ort/ort-wasm-simd-threaded.wasm'],
  webgpu: ['ort/ort.webgpu.bundle.min.mjs', 'ort/ort-wasm-simd-threaded.asyncify.wasm'],
};

// Returns `run(values, names)` with `where`, which says what it runs on.
export async function loadNetwork(metadata, { hasWebGpu }) {
  const model = await readFile('model.onnx');
  if (hasWebGpu && await hasRealAdapter()) {
    try {
      return await load('webgpu', model, metadata);
    } catch (error) {
      console.warn(`WebGPU is not used: ${error.message}`);
    }
  }
  return load('wasm', model, metadata);
}

async function hasRealAdapter() {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  const info = adapter?.info;
  return Boolean(info) && !info.isFallbackAdapter && !adapter.isFallbackAdapter;
}

async function load(provider, model, { input_size: [height, width], interpolation }) {
  const [module, binary] = BUILDS[provider];
  const ort = await importFile(module);
  // Threads share memory, which browsers allow only to isolated pages.
  const threads = globalThis.crossOriginIsolated
    ? Math.min(navigator.hardwareConcurrency, MAX_THREADS) : 1;
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.wasmBinary = await readFile(binary);
  const options = { executionProviders: [provider], logSeverityLevel: 3 };
  const session = await ort.InferenceSession.create(model, options);
  const type = interpolation === 'legacy' ? 'float32' : 'uint8';

  async function run(values, names) {
    const image = new ort.Tensor(type, values, [1, height, width, 3]);
    return session.run({ image }, names);
  }
  const cpu = threads === 1 ? '1 thread' : `${threads} threads`;
  return { run, where: provider === 'webgpu' ? 'WebGPU' : `WebAssembly, ${cpu}` };
}
