//! `group`: groups of `--members`, in which everybody sends to all.

use serde_json::{Map, Value};

use super::mix::{Kind, Mix};
use super::mixed::{self, Mixed};
use super::{Scenario, Stage};
use crate::failure::Failure;
use crate::options::Options;
use crate::result::Outcome;
use crate::transport::Transport;

pub(crate) struct Group;

impl Scenario for Group {
    type Prepared = Vec<String>;

    fn block(options: &Options) -> usize {
        Mixed::block(options)
    }

    fn prepare<T: Transport>(stage: &mut Stage<'_, T>) -> Result<Vec<String>, Failure> {
        Mixed::prepare(stage)
    }

    fn run<T: Transport>(stage: Stage<'_, T>, groups: Vec<String>) -> Result<Outcome, Failure> {
        mixed::run(stage, &groups, Mix::only(Kind::Group))
    }

    fn derive(outcome: &Outcome, fields: &mut Map<String, Value>) {
        Mixed::derive(outcome, fields);
    }
}
