//! stub
use clap::Args;
use crate::console::{Console, Failure};
/// x
#[derive(Debug, Args)]
pub struct Arguments {}
/// x
pub fn run(_a: &Arguments, _c: Console) -> Result<(), Failure> { Ok(()) }
