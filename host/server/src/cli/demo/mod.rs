//! `quorate demo`

use clap::Args;

use super::Failure;
use crate::config::Config;

#[derive(Args)]
pub(super) struct DemoArguments {}

pub(super) async fn demo(_: Config, _: DemoArguments) -> Result<(), Failure> {
    Ok(())
}
