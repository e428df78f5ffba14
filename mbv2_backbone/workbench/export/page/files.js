// The page's files: elements of the page itself, packed, or files beside it.
export async function readFile(name) {
  const element = document.getElementById(name);
  if (element) return unpacked(element.textContent);
  const response = await fetch(name);
  if (!response.ok) throw new Error(`${name} is missing beside the page (${response.status}).`);
  return new Uint8Array(await response.arrayBuffer());
}

export async function importFile(name) {
  if (!document.getElementById(name)) return import(`./${name}`);
  const url = URL.createObjectURL(new Blob([await readFile(name)], { type: 'text/javascript' }));
  return import(url);
}

async function unpacked(text) {
  const packed = atob(text);
  const bytes = new Uint8Array(packed.length);
  for (let i = 0; i < bytes.length; i += 1) bytes[i] = packed.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
