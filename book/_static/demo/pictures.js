/** Pictures in their three forms: ImageData as a canvas has it, numbers as the networks take them, a file as a reader brings it. */

/**
 * @param {ImageData} image H x W
 * @returns {Float32Array} [3 H W] in [-1, 1]
 */
export function toNumbers({ data, width, height }) {
  const area = width * height;
  const numbers = new Float32Array(3 * area);
  for (let i = 0; i < area; i++) {
    for (let c = 0; c < 3; c++) numbers[c * area + i] = data[4 * i + c] / 127.5 - 1;
  }
  return numbers;
}

/**
 * @param {Float32Array} numbers [3 size size]; what lies outside [-1, 1] is clamped
 * @param {number} size
 * @returns {ImageData}
 */
export function toImage(numbers, size) {
  const area = size * size;
  const image = new ImageData(size, size);
  for (let i = 0; i < area; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = (numbers[c * area + i] + 1) * 127.5; // the array rounds and clamps
    image.data[4 * i + 3] = 255;
  }
  return image;
}

/** Paint a picture over the whole of a canvas, which takes its size. */
export function show(canvas, image) {
  if (canvas.width !== image.width) canvas.width = image.width;
  if (canvas.height !== image.height) canvas.height = image.height;
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/**
 * The middle square of a picture file, made smaller by halves so that no pixel is left out; on white where it is transparent.
 * @param {Blob} file
 * @param {number} size
 * @returns {Promise<ImageData>} size x size
 * @throws {Error} if the browser cannot read the file as a picture
 */
export async function readPicture(file, size) {
  const whole = await createImageBitmap(file);
  const side = Math.min(whole.width, whole.height);
  const first = Math.max(size, Math.min(side, 1024)); // larger pictures are brought here in one step
  let canvas = squareOf(first, (context) => {
    const [x, y] = [(whole.width - side) / 2, (whole.height - side) / 2];
    context.drawImage(whole, x, y, side, side, 0, 0, first, first);
  });
  whole.close();
  while (canvas.width > size) {
    const [larger, next] = [canvas, Math.max(size, canvas.width >> 1)];
    canvas = squareOf(next, (context) => context.drawImage(larger, 0, 0, next, next));
  }
  return canvas.getContext("2d").getImageData(0, 0, size, size);
}

function squareOf(side, draw) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, side, side);
  context.imageSmoothingQuality = "high";
  draw(context);
  return canvas;
}
