//! Images on their way into and out of a program.

use std::path::Path;

use anec_mil::evaluate::Tensor;
use anec_mil::package::{ColorSpace, Image, ImageFlexibility, ImageSize};
use image::{DynamicImage, GrayImage, ImageError, ImageReader, RgbImage};

use super::array::{Array, Numbers};

/// An image that cannot be given to a program, or made from what it gives.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// It is no image of a format that is read.
    #[error(transparent)]
    Decode(#[from] ImageError),
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

/// Reads an image as the program sees it: `[1, channels, height, width]` from 0 to 255.
///
/// # Errors
/// The file is no image, or of another size.
pub(super) fn read(path: &Path, image: &Image) -> Result<Array, PictureError> {
    let decoded = ImageReader::open(path).map_err(ImageError::IoError)?.with_guessed_format();
    let decoded = decoded.map_err(ImageError::IoError)?.decode()?;
    let (width, height) = (decoded.width(), decoded.height());
    if !accepts(image, ImageSize { width: width.into(), height: height.into() }) {
        return Err(PictureError::Size { width, height, expected: sizes(image) });
    }
    let planes = match image.color_space {
        ColorSpace::Grayscale => vec![floats(decoded.to_luma8().as_raw(), 1, 0)],
        // Half floats go from 0 to 1.
        ColorSpace::GrayscaleFloat16 => {
            vec![decoded.to_luma16().as_raw().iter().map(|value| f64::from(*value) / f64::from(u16::MAX)).collect()]
        }
        ColorSpace::Rgb => channels(&decoded, [0, 1, 2]),
        ColorSpace::Bgr => channels(&decoded, [2, 1, 0]),
    };
    let shape = vec![1, planes.len(), height as usize, width as usize];
    Ok(Array { shape, numbers: Numbers::Floats(planes.concat()) })
}

fn channels(image: &DynamicImage, order: [usize; 3]) -> Vec<Vec<f64>> {
    let pixels = image.to_rgb8();
    order.into_iter().map(|channel| floats(pixels.as_raw(), 3, channel)).collect()
}

/// Every `step`-th byte from `first` on.
fn floats(bytes: &[u8], step: usize, first: usize) -> Vec<f64> {
    bytes.iter().skip(first).step_by(step).map(|value| f64::from(*value)).collect()
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
pub(super) fn of(tensor: &Tensor, color_space: ColorSpace) -> Result<DynamicImage, PictureError> {
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
    let byte = |value: f32| value.round().clamp(0.0, 255.0) as u8;
    let plane = height * width;
    let pixels: Vec<u8> = (0..plane)
        .flat_map(|pixel| order.iter().filter_map(|channel| values.get(channel * plane + pixel)).map(|value| byte(*value)).collect::<Vec<_>>())
        .collect();
    let (width, height) = (u32::try_from(width).map_err(|_| failed())?, u32::try_from(height).map_err(|_| failed())?);
    let image = if order.len() == 1 {
        GrayImage::from_raw(width, height, pixels).map(DynamicImage::ImageLuma8)
    } else {
        RgbImage::from_raw(width, height, pixels).map(DynamicImage::ImageRgb8)
    };
    image.ok_or_else(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anec_mil::DataType;

    #[test]
    fn colors_go_in_and_come_out_in_the_order_of_their_color_space() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("two.png");
        let picture = RgbImage::from_raw(2, 1, vec![10, 20, 30, 40, 50, 60]).expect("two pixels");
        picture.save(&path).expect("written");
        for (color_space, expected) in [
            (ColorSpace::Rgb, [10.0, 40.0, 20.0, 50.0, 30.0, 60.0]),
            (ColorSpace::Bgr, [30.0, 60.0, 20.0, 50.0, 10.0, 40.0]),
        ] {
            let image = Image { size: ImageSize { width: 2, height: 1 }, color_space, flexibility: None };
            let array = read(&path, &image).expect("an image");
            assert_eq!(array, Array { shape: vec![1, 3, 1, 2], numbers: Numbers::Floats(expected.to_vec()) });
            let tensor = array.to_tensor(DataType::Float32).expect("floats");
            assert_eq!(of(&tensor, color_space).expect("an image").to_rgb8(), picture);
        }
    }

    #[test]
    fn another_size_is_refused_with_the_sizes_that_are_taken() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("two.png");
        GrayImage::from_raw(2, 1, vec![1, 2]).expect("two pixels").save(&path).expect("written");
        let size = ImageSize { width: 1, height: 2 };
        let image = Image { size, color_space: ColorSpace::Grayscale, flexibility: None };
        let error = read(&path, &image).expect_err("turned");
        assert_eq!(error.to_string(), "it has 2 × 1 pixels, expected 1 × 2");
    }
}
