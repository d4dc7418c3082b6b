//! The failure of a batch.

use crate::Failure;

/// The failure of a batch in which two items have failed. It does not depend on their order.
pub(super) fn merge(one: Failure, other: Failure) -> Failure {
    use Failure::{Fault, Internal, InvalidShare, InvalidTask};
    let rank = |failure: &Failure| match failure {
        Fault { ban: true, .. } => 4,
        Fault { ban: false, .. } => 3,
        InvalidShare(_) => 2,
        InvalidTask(_) => 1,
        Internal(_) => 0,
    };
    match rank(&one).cmp(&rank(&other)) {
        std::cmp::Ordering::Greater => return one,
        std::cmp::Ordering::Less => return other,
        std::cmp::Ordering::Equal => {}
    }
    match (one, other) {
        (Fault { mut culprits, ban, detail }, Fault { culprits: others, detail: also, .. }) => {
            culprits.extend(others);
            culprits.sort_unstable();
            culprits.dedup();
            Fault { culprits, ban, detail: detail.min(also) }
        }
        (InvalidShare(detail), InvalidShare(also)) => InvalidShare(detail.min(also)),
        (InvalidTask(detail), InvalidTask(also)) => InvalidTask(detail.min(also)),
        (Internal(detail), Internal(also)) => Internal(detail.min(also)),
        (one, _) => one,
    }
}
