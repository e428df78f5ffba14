"""One small photo in every image format, and the pixels that all readers must see."""

import io
import struct
import zlib

import cv2
import numpy as np
from PIL import Image

ORIENTATION = 0x0112
STORED_WH = (48, 32)
LOSSY = 6  # largest difference that JPEG and AVIF at high quality make in smooth pixels


def photo(channels=3):
    """Return smooth random colours `(H, W, channels)` uint8 that no turn maps onto themselves."""
    small = np.random.default_rng(channels).integers(0, 256, (3, 4, channels), np.uint8)
    pixels = cv2.resize(small, STORED_WH, interpolation=cv2.INTER_LINEAR)
    return pixels if channels > 1 else pixels.reshape(*STORED_WH[::-1], 1)


def turned(pixels, orientation):
    """Return stored pixels as EXIF 2.3, table 6, and TIFF 6.0, tag 274, say they are shown."""
    return {
        1: lambda: pixels,
        2: lambda: pixels[:, ::-1],
        3: lambda: pixels[::-1, ::-1],
        4: lambda: pixels[::-1],
        5: lambda: pixels.swapaxes(0, 1),
        6: lambda: np.rot90(pixels, -1),
        7: lambda: pixels[::-1, ::-1].swapaxes(0, 1),
        8: lambda: np.rot90(pixels, 1),
    }[orientation]()


def encoded(image, file_format, orientation=None, **kwargs):
    """Return the bytes of a PIL image or an array, with an EXIF orientation."""
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    if orientation is not None:
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        kwargs['exif'] = exif
    if file_format in ('JPEG', 'MPO', 'AVIF'):
        kwargs = dict(quality=100, subsampling='4:4:4') | kwargs
    buffer = io.BytesIO()
    image.save(buffer, file_format, **kwargs)
    return buffer.getvalue()


def deep(channels):
    """Return 16-bit pixels whose upper 8 bits are `photo`, and whose lower 8 bits are random."""
    high = photo(channels).astype(np.uint16)
    low = np.random.default_rng(7).integers(0, 256, high.shape, np.uint16)
    return (high << 8) | low


def grey(channels=1):
    return np.repeat(photo(1), channels, 2)


def png_with_late_exif(orientation):
    """Return a PNG whose EXIF data follows the pixels, as ImageMagick writes it."""
    tiff = b'MM\0*\0\0\0\x08\0\x01' + struct.pack('>HHIHHI', ORIENTATION, 3, 1, orientation, 0, 0)
    chunk = b'eXIf' + tiff
    chunk = struct.pack('>I', len(tiff)) + chunk + struct.pack('>I', zlib.crc32(chunk))
    whole = encoded(photo(), 'PNG')
    return whole[:-12] + chunk + whole[-12:]


def xmp(orientation):
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description '
        b'tiff:Orientation="%d"/></x:xmpmeta>' % orientation
    )


def formats():
    """Return by name: a file, the RGB pixels to see, the difference allowed, and check's note."""
    rgb, few = photo(), Image.fromarray(photo()).quantize(32)
    of_few, inverse = np.asarray(few.convert('RGB')), Image.fromarray(255 - rgb)
    rgba = np.concatenate([rgb, grey()], 2)
    cmyk, bits = Image.fromarray(rgb).convert('CMYK'), Image.fromarray(grey()[..., 0]).convert('1')
    black_white = np.asarray(bits.convert('RGB'))
    two = dict(save_all=True, append_images=[inverse])
    alpha, sixteen = 'transparent', '16-bit'
    deep_rgb = deep(3)[..., ::-1]
    table = {
        'jpeg grey': (encoded(grey()[..., 0], 'JPEG'), grey(3), LOSSY, 'grayscale'),
        'jpeg cmyk': (encoded(cmyk, 'JPEG'), rgb, LOSSY, 'CMYK'),
        'jpeg cmyk 6': (encoded(cmyk, 'JPEG', 6), turned(rgb, 6), LOSSY, 'CMYK'),
        'jpeg progressive 8': (
            encoded(rgb, 'JPEG', 8, progressive=True), turned(rgb, 8), LOSSY, ''
        ),
        'jpeg of broken exif': (
            encoded(rgb, 'JPEG', exif=b'Exif\0\0no tiff'), rgb, LOSSY, ''
        ),
        'jpeg of orientation 9': (encoded(rgb, 'JPEG', 9), rgb, LOSSY, ''),
        'jpeg of xmp 6': (encoded(rgb, 'JPEG', xmp=xmp(6)), rgb, LOSSY, ''),
        'jpeg of two': (encoded(rgb, 'MPO', 6, **two), turned(rgb, 6), LOSSY, ''),
        'png grey': (encoded(grey()[..., 0], 'PNG'), grey(3), 0, 'grayscale'),
        'png 16-bit grey': (encoded(deep(1)[..., 0], 'PNG'), grey(3), 0, sixteen),
        'png 16-bit grey 6': (encoded(deep(1)[..., 0], 'PNG', 6), turned(grey(3), 6), 0, sixteen),
        'png 16-bit': (cv2.imencode('.png', deep_rgb)[1].tobytes(), rgb, 0, sixteen),
        'png palette': (encoded(few, 'PNG'), of_few, 0, 'palette-coloured'),
        'png palette alpha': (encoded(few, 'PNG', transparency=3), of_few, 0, 'palette-coloured'),
        'png alpha': (encoded(rgba, 'PNG'), rgb, 0, alpha),
        'png grey alpha': (
            encoded(np.concatenate([grey(), rgb[..., :1]], 2), 'PNG'), grey(3), 0,
            'grayscale with transparency'
        ),
        'png black and white': (encoded(bits, 'PNG'), black_white, 0, 'black and white'),
        'png of late exif': (png_with_late_exif(6), turned(rgb, 6), 0, ''),
        'png of two': (encoded(rgb, 'PNG', 3, **two), turned(rgb, 3), 0, ''),
        'webp lossy': (encoded(rgb, 'WEBP', 6, quality=100), turned(rgb, 6), 3 * LOSSY, ''),
        'webp alpha': (encoded(rgba, 'WEBP', 6, lossless=True), turned(rgb, 6), 0, alpha),
        'webp of two': (encoded(rgb, 'WEBP', 5, lossless=True, **two), turned(rgb, 5), 0, ''),
        'avif alpha': (encoded(rgba, 'AVIF', 6), turned(rgb, 6), LOSSY, alpha),
        'tiff grey': (encoded(grey()[..., 0], 'TIFF'), grey(3), 0, 'grayscale'),
        'tiff 16-bit grey': (encoded(deep(1)[..., 0], 'TIFF'), grey(3), 0, sixteen),
        'tiff 16-bit grey 6': (encoded(deep(1)[..., 0], 'TIFF', 6), turned(grey(3), 6), 0, sixteen),
        'tiff 16-bit': (cv2.imencode('.tiff', deep_rgb)[1].tobytes(), rgb, 0, sixteen),
        'tiff palette': (encoded(few, 'TIFF'), of_few, 0, 'palette-coloured'),
        'tiff alpha': (encoded(rgba, 'TIFF', 8), turned(rgb, 8), 0, alpha),
        'tiff cmyk': (encoded(cmyk, 'TIFF', 3), turned(rgb, 3), 1, 'CMYK'),
        'tiff fax': (
            encoded(bits, 'TIFF', compression='group4'), black_white, 0, 'black and white'
        ),
        'tiff lzw 7': (encoded(rgb, 'TIFF', 7, compression='tiff_lzw'), turned(rgb, 7), 0, ''),
        'bmp': (encoded(rgb, 'BMP'), rgb, 0, ''),
        'bmp palette': (encoded(few, 'BMP'), of_few, 0, 'palette-coloured'),
        'bmp grey': (encoded(grey()[..., 0], 'BMP'), grey(3), 0, 'grayscale'),
        'gif': (encoded(few, 'GIF'), of_few, 0, 'palette-coloured'),
        'gif of two': (encoded(few, 'GIF', **two), of_few, 0, 'palette-coloured'),
        'gif alpha': (encoded(few, 'GIF', transparency=3), of_few, 0, 'palette-coloured'),
        'jpeg 2000': (encoded(rgb, 'JPEG2000'), rgb, 0, ''),
    }  # fmt: skip
    lossless = dict(PNG={}, WEBP=dict(lossless=True), TIFF={})
    lossy = dict(JPEG={}, AVIF={})
    for file_format, kwargs in (lossless | lossy).items():
        for orientation in range(1, 9):
            table[f'{file_format.lower()} {orientation}'] = (
                encoded(rgb, file_format, orientation, **kwargs),
                turned(rgb, orientation),
                LOSSY if file_format in lossy else 0,
                '',
            )
    return table
