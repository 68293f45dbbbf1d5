//! What a training goes on from: weights and optimizer in one file, which is there whole or not at all.

use std::io::{self, Read as _, Write as _};
use std::path::Path;

use fs_err as fs;

use super::TrainError;
use super::optimizer::Optimizer;
use super::parameters::{floats, write_floats};

/// What such a file starts with.
const MAGIC: [u8; 8] = *b"anectrn1";

/// Writes weights and optimizer, through a file beside.
pub(super) fn write(path: &Path, weights: &[f32], optimizer: &Optimizer, taken: u64) -> io::Result<()> {
    let beside = path.with_extension("part");
    let mut file = io::BufWriter::new(fs::File::create(&beside)?);
    file.write_all(&MAGIC)?;
    for number in [taken, optimizer.steps, u64::from(optimizer.calm), weights.len() as u64] {
        file.write_all(&number.to_le_bytes())?;
    }
    write_floats(&mut file, &[optimizer.scale])?;
    for values in [weights, &optimizer.first, &optimizer.second] {
        write_floats(&mut file, values)?;
    }
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(beside, path)
}

/// Weights, optimizer, and how many steps were tried.
pub(super) fn read(path: &Path, count: usize) -> Result<(Vec<f32>, Optimizer, u64), TrainError> {
    let malformed = |problem: String| TrainError::State { path: path.to_owned(), problem };
    let mut file = io::BufReader::new(fs::File::open(path)?);
    let mut magic = [0; 8];
    file.read_exact(&mut magic)?;
    let mut number = || -> io::Result<u64> {
        let mut bytes = [0; 8];
        file.read_exact(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    };
    let [taken, steps, calm, found] = [number()?, number()?, number()?, number()?];
    if magic != MAGIC || found != count as u64 {
        return Err(malformed(format!("is of another model: it has {found} weights, expected {count}")));
    }
    let scale = floats(&mut file, 1)?.first().copied().unwrap_or(1.0);
    let weights = floats(&mut file, count)?;
    let (first, second) = (floats(&mut file, count)?, floats(&mut file, count)?);
    let calm = u32::try_from(calm).unwrap_or(0);
    Ok((weights, Optimizer { first, second, steps, scale, calm }, taken))
}
