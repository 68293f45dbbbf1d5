//! Images on their way into and out of a program.

use std::io::BufReader;
use std::path::Path;

use anec_mil::evaluate::Tensor;
use anec_mil::package::{ColorSpace, Image, ImageFlexibility, ImageSize, SizeRange};
use fs_err as fs;
use png::{BitDepth, ColorType, DecodingError, EncodingError, Transformations};
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace as JpegColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::array::{Array, Numbers};

/// An image that cannot be given to a program, or made from what it gives.
#[derive(Debug, thiserror::Error)]
pub(super) enum PictureError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// It is no PNG.
    #[error(transparent)]
    Png(#[from] DecodingError),
    /// It is no JPEG.
    #[error("it is no JPEG that is read: {0}")]
    Jpeg(String),
    /// It cannot be written.
    #[error(transparent)]
    Encode(#[from] EncodingError),
    /// It has a size that the program does not take.
    #[error("it has {width} × {height} pixels, expected {expected}")]
    Size {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// The sizes that are taken.
        expected: String,
    },
    /// The program gives no image.
    #[error("the result has shape {shape:?}, which is no image")]
    Shape {
        /// The shape.
        shape: Vec<usize>,
    },
}

impl From<DecodeErrors> for PictureError {
    fn from(error: DecodeErrors) -> Self {
        Self::Jpeg(error.to_string())
    }
}

/// Pixels of 8-bit channels, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Picture {
    /// Columns.
    pub(super) width: u32,
    /// Rows.
    pub(super) height: u32,
    /// One for brightness; three for red, green and blue.
    pub(super) channels: usize,
    /// The channels of a pixel side by side.
    pub(super) bytes: Vec<u8>,
}

/// Whether this is a PNG or a JPEG that is decoded, of 1024 rows and columns at most.
pub(super) fn is_picture(bytes: &[u8]) -> bool {
    let any = SizeRange { lower: 1, upper: Some(1024) };
    let image = Image {
        size: ImageSize { width: 0, height: 0 },
        color_space: ColorSpace::Rgb,
        flexibility: Some(ImageFlexibility::Ranges { width: any, height: any }),
    };
    Picture::decode(bytes, &image).is_ok()
}

impl Picture {
    /// Decodes a PNG or a JPEG of a size that `image` takes; what is transparent loses that.
    fn open(path: &Path, image: &Image) -> Result<Self, PictureError> {
        Self::decode(&fs::read(path)?, image)
    }

    fn decode(bytes: &[u8], image: &Image) -> Result<Self, PictureError> {
        const PNG: &[u8] = b"\x89PNG";
        if bytes.starts_with(PNG) { Self::of_png(bytes, image) } else { Self::of_jpeg(bytes, image) }
    }

    fn of_png(bytes: &[u8], image: &Image) -> Result<Self, PictureError> {
        let mut decoder = png::Decoder::new(BufReader::new(std::io::Cursor::new(bytes)));
        decoder.set_transformations(Transformations::normalize_to_color8());
        let mut reader = decoder.read_info()?;
        check_size(image, reader.info().width, reader.info().height)?;
        let size = reader.output_buffer_size().ok_or_else(|| std::io::Error::other("it is larger than memory"))?;
        let mut pixels = vec![0; size];
        let frame = reader.next_frame(&mut pixels)?;
        pixels.truncate(frame.buffer_size());
        let (kept, of) = match frame.color_type {
            ColorType::Grayscale => (1, 1),
            ColorType::GrayscaleAlpha => (1, 2),
            ColorType::Rgb | ColorType::Indexed => (3, 3),
            ColorType::Rgba => (3, 4),
        };
        let bytes = pixels.chunks_exact(of).flat_map(|pixel| pixel.iter().take(kept).copied()).collect();
        Ok(Self { width: frame.width, height: frame.height, channels: kept, bytes })
    }

    fn of_jpeg(bytes: &[u8], image: &Image) -> Result<Self, PictureError> {
        let options = DecoderOptions::default().jpeg_set_out_colorspace(JpegColorSpace::RGB);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
        decoder.decode_headers()?;
        let info = decoder.info().ok_or_else(|| PictureError::Jpeg("it has no size".to_owned()))?;
        let (width, height) = (u32::from(info.width), u32::from(info.height));
        check_size(image, width, height)?;
        Ok(Self { width, height, channels: 3, bytes: decoder.decode()? })
    }

    /// One channel as floats.
    fn channel(&self, channel: usize) -> Vec<f64> {
        let channel = channel.min(self.channels - 1);
        self.bytes.iter().skip(channel).step_by(self.channels).map(|value| f64::from(*value)).collect()
    }

    /// Brightness as floats, rounded to bytes.
    ///
    /// # Source
    /// ITU-R BT.601, as Pillow converts to grayscale.
    fn brightness(&self) -> Vec<f64> {
        if self.channels == 1 {
            return self.channel(0);
        }
        let pixels = self.bytes.chunks_exact(self.channels);
        let weighed = |pixel: &[u8]| -> f64 {
            pixel.iter().zip([0.299, 0.587, 0.114]).map(|(value, weight)| f64::from(*value) * weight).sum()
        };
        pixels.map(|pixel| weighed(pixel).round()).collect()
    }

    /// The image as a PNG.
    ///
    /// # Errors
    /// It has no pixels.
    pub(super) fn to_png(&self) -> Result<Vec<u8>, PictureError> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width, self.height);
        encoder.set_color(if self.channels == 1 { ColorType::Grayscale } else { ColorType::Rgb });
        encoder.set_depth(BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.bytes)?;
        writer.finish()?;
        Ok(bytes)
    }
}

/// Reads an image as the program sees it: `[1, channels, height, width]` from 0 to 255.
///
/// # Errors
/// The file is no image, or of another size.
pub(super) fn read(path: &Path, image: &Image) -> Result<Array, PictureError> {
    let picture = Picture::open(path, image)?;
    let (width, height) = (picture.width, picture.height);
    let planes = match image.color_space {
        ColorSpace::Grayscale | ColorSpace::GrayscaleFloat16 => vec![picture.brightness()],
        ColorSpace::Rgb => [0, 1, 2].map(|channel| picture.channel(channel)).to_vec(),
        ColorSpace::Bgr => [2, 1, 0].map(|channel| picture.channel(channel)).to_vec(),
    };
    let shape = vec![1, planes.len(), height as usize, width as usize];
    Ok(Array { shape, numbers: Numbers::Floats(planes.concat()) })
}

/// Most pixels of an image, which a model without a bound of its own may take.
const MOST_PIXELS: u64 = 1 << 26;

/// Requires a size that a model takes, before anything is as large as a file says.
fn check_size(image: &Image, width: u32, height: u32) -> Result<(), PictureError> {
    let few = u64::from(width) * u64::from(height) <= MOST_PIXELS;
    if few && accepts(image, ImageSize { width: width.into(), height: height.into() }) {
        return Ok(());
    }
    let expected = if few { sizes(image) } else { format!("{MOST_PIXELS} pixels or fewer") };
    Err(PictureError::Size { width, height, expected })
}

fn accepts(image: &Image, size: ImageSize) -> bool {
    size == image.size
        || match &image.flexibility {
            None => false,
            Some(ImageFlexibility::Enumerated(sizes)) => sizes.contains(&size),
            Some(ImageFlexibility::Ranges { width, height }) => {
                width.contains(size.width) && height.contains(size.height)
            }
        }
}

fn sizes(image: &Image) -> String {
    let one = |size: &ImageSize| format!("{} × {}", size.width, size.height);
    match &image.flexibility {
        None => one(&image.size),
        Some(ImageFlexibility::Enumerated(sizes)) => sizes.iter().map(one).collect::<Vec<_>>().join(" or "),
        Some(ImageFlexibility::Ranges { width, height }) => format!("{width} × {height}"),
    }
}

/// The image of a result of 8-bit channels: rounded, and cut to 0 to 255.
///
/// # Errors
/// The result is no image of this color space.
pub(super) fn of(tensor: &Tensor, color_space: ColorSpace) -> Result<Picture, PictureError> {
    let failed = || PictureError::Shape { shape: tensor.shape().to_vec() };
    let (&[1, channels, height, width], Ok(values)) = (tensor.shape(), tensor.as_floats()) else {
        return Err(failed());
    };
    let order: &[usize] = match color_space {
        ColorSpace::Grayscale | ColorSpace::GrayscaleFloat16 => &[0],
        ColorSpace::Rgb => &[0, 1, 2],
        ColorSpace::Bgr => &[2, 1, 0],
    };
    if channels != order.len() {
        return Err(failed());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the value is cut to a byte")]
    let byte = |value: &f32| value.round().clamp(0.0, 255.0) as u8;
    let plane = height * width;
    let mut bytes = Vec::with_capacity(values.len());
    for pixel in 0..plane {
        bytes.extend(order.iter().filter_map(|channel| values.get(channel * plane + pixel)).map(byte));
    }
    let (width, height) = (u32::try_from(width).map_err(|_| failed())?, u32::try_from(height).map_err(|_| failed())?);
    Ok(Picture { width, height, channels, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anec_mil::DataType;
    use anec_mil::package::SizeRange;

    fn written(picture: &Picture) -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("picture.png");
        fs::write(&path, picture.to_png().expect("encoded")).expect("written");
        (directory, path)
    }

    #[test]
    fn colors_go_in_and_come_out_in_the_order_of_their_color_space() {
        let picture = Picture { width: 2, height: 1, channels: 3, bytes: vec![10, 20, 30, 40, 50, 60] };
        let (_directory, path) = written(&picture);
        for (color_space, expected) in [
            (ColorSpace::Rgb, [10.0, 40.0, 20.0, 50.0, 30.0, 60.0]),
            (ColorSpace::Bgr, [30.0, 60.0, 20.0, 50.0, 10.0, 40.0]),
        ] {
            let image = Image { size: ImageSize { width: 2, height: 1 }, color_space, flexibility: None };
            let array = read(&path, &image).expect("an image");
            assert_eq!(array, Array { shape: vec![1, 3, 1, 2], numbers: Numbers::Floats(expected.to_vec()) });
            let tensor = array.to_tensor(DataType::Float32).expect("floats");
            assert_eq!(of(&tensor, color_space).expect("an image"), picture);
        }
    }

    #[test]
    fn a_colored_image_becomes_as_bright_as_pillow_makes_it() {
        let picture = Picture { width: 2, height: 1, channels: 3, bytes: vec![255, 0, 0, 10, 200, 30] };
        let (_directory, path) = written(&picture);
        let size = ImageSize { width: 2, height: 1 };
        let image = Image { size, color_space: ColorSpace::Grayscale, flexibility: None };
        let expected = Array { shape: vec![1, 1, 1, 2], numbers: Numbers::Floats(vec![76.0, 124.0]) };
        assert_eq!(read(&path, &image).expect("an image"), expected);
    }

    #[test]
    fn another_size_is_refused_with_the_sizes_that_are_taken() {
        let (_directory, path) = written(&Picture { width: 2, height: 1, channels: 1, bytes: vec![1, 2] });
        let size = ImageSize { width: 1, height: 2 };
        let image = Image { size, color_space: ColorSpace::Grayscale, flexibility: None };
        let error = read(&path, &image).expect_err("turned");
        assert_eq!(error.to_string(), "it has 2 × 1 pixels, expected 1 × 2");
    }

    #[test]
    fn other_files_are_no_images() {
        let image = Image { size: ImageSize { width: 2, height: 1 }, color_space: ColorSpace::Rgb, flexibility: None };
        for bytes in [&b""[..], b"\x89PNG\r\n", b"\xff\xd8\xff", b"text"] {
            assert!(Picture::decode(bytes, &image).is_err(), "{bytes:?}");
        }
        let good = Picture { width: 2, height: 1, channels: 3, bytes: vec![10, 20, 30, 40, 50, 60] }
            .to_png()
            .expect("encoded");
        for position in 0..good.len() {
            // A byte cut off or changed is an error or another image.
            let _ = Picture::decode(&good[..position], &image);
            let mut changed = good.clone();
            changed[position] ^= 0x81;
            let _ = Picture::decode(&changed, &image);
        }
    }

    #[test]
    fn a_size_that_no_memory_holds_is_refused_before_anything_is_read() {
        let mut huge = Picture { width: 2, height: 1, channels: 3, bytes: vec![0; 6] }.to_png().expect("encoded");
        // Width and height of the header, with its checksum.
        huge[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
        let checksum = crc(&huge[12..29]).to_be_bytes();
        huge[29..33].copy_from_slice(&checksum);
        let image = Image {
            size: ImageSize { width: 2, height: 1 },
            color_space: ColorSpace::Rgb,
            flexibility: Some(ImageFlexibility::Ranges {
                width: SizeRange { lower: 1, upper: None },
                height: SizeRange { lower: 1, upper: None },
            }),
        };
        let error = Picture::decode(&huge, &image).expect_err("a size that nothing holds");
        // By the model, or by the decoder, which has a bound of its own.
        assert!(matches!(error, PictureError::Size { .. } | PictureError::Png(_)), "{error:?}");
    }

    /// The checksum of a chunk of a PNG.
    fn crc(bytes: &[u8]) -> u32 {
        let step = |crc: u32, _| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
        !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
    }
}
