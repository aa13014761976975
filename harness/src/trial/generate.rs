//! Draws scripts: operations by weight, from what the model's state offers.
//!
//! proptest's state machine drives it, the model being the reference. All lines of a script are
//! valid in every state, so that there are no preconditions.

use super::offer::Offer;
use crate::model::Model;
use crate::model::operation::{LayerOperation, Operation};
use crate::model::quirks::Bent;
use crate::seed::Seed;
use anyhow::{Result, anyhow};
use proptest::prelude::{Just, Strategy as _, any};
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use proptest_state_machine::Sequential;

/// What sort of script is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavour {
    /// Everything, over one to twelve layers.
    Usual,
    /// Many layers with little in each, up to 128.
    ManyLayers,
    /// Directories in directories, with long names.
    DeepTree,
}

/// The reference of the state machine.
#[derive(Clone, Debug)]
struct State {
    model: Model,
    flavour: Flavour,
}

/// Operations of a usual script.
const LENGTH: usize = 150;

/// Draws script `case` of `seed` for a model with these quirks.
pub fn script(seed: Seed, case: u64, bent: &Bent) -> Result<Vec<Operation>> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.0.to_le_bytes());
    bytes[8..16].copy_from_slice(&case.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    let flavour = match case % 40 {
        17 => Flavour::ManyLayers,
        7 | 27 => Flavour::DeepTree,
        _ => Flavour::Usual,
    };
    let first = State {
        model: Model::new(bent.clone()),
        flavour,
    };
    let strategy = Sequential::new(
        (LENGTH..=LENGTH).into(),
        move || Just(first.clone()),
        |_: &State, _: &Operation| true,
        |state: &State| {
            let offer = Offer::of(&state.model, state.flavour);
            any::<u64>().prop_map(move |draw| offer.draw(&mut Seed(draw).generator("operation")))
        },
        |mut state: State, operation: &Operation| {
            match operation {
                Operation::File(operation) => drop(state.model.perform(operation)),
                Operation::Layer(operation) => {
                    if *operation == LayerOperation::Commit {
                        // As it is done where it is performed.
                        for settling in state.model.settle() {
                            state.model.perform(&settling);
                        }
                    }
                    // Refusals are predicted, not avoided.
                    let _refused = state.model.change(operation);
                }
            }
            state
        },
    );
    let tree = proptest::strategy::Strategy::new_tree(&strategy, &mut runner)
        .map_err(|reason| anyhow!("no script can be drawn: {reason}"))?;
    let (_, operations, _) = tree.current();
    Ok(operations)
}
