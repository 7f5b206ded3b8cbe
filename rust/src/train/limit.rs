//! How much a corpus may hold: its counts are exact, or it is refused.
//!
//! Sums of counts saturate wherever they are made, so that the largest number stands for any sum that is too large,
//! also in a file of counts that is read again. What is below it is exact. No pair of tokens occurs more often than
//! bytes stand side by side, nor does it seem to while a merge is under way, as every pair that a merge makes stands in
//! the place of another. So one look at two sums, when all is counted, is enough for what follows.

use crate::error::{Error, Result};

/// Most pretokens, and most pairs of neighbouring bytes in them, each as often as it occurs.
pub(super) const MOST: u64 = u64::MAX - 1;

/// Refuses a corpus whose sums do not fit.
///
/// # Errors
/// `Error::Value` that names the sum and the most allowed.
pub(super) fn check(pretokens: u64, pairs: u128) -> Result<()> {
    let sums = [
        (u128::from(pretokens), "pretokens"),
        (pairs, "pairs of neighbouring bytes"),
    ];
    for (sum, what) in sums {
        if sum > u128::from(MOST) {
            let or_more = if sum == u128::from(u64::MAX) {
                " or more"
            } else {
                ""
            };
            return Err(Error::value(format!(
                "the counts add up to {sum}{or_more} {what}; up to {MOST} are allowed\n\
                 hint: divide all counts by the same number"
            )));
        }
    }
    Ok(())
}
