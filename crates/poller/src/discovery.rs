//! Finds out whom to poll: a list that the API itself gives, page by page.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::sleep;
use url::Url;

use crate::agents::Agents;
use crate::caller::{Miss, Why};
use crate::data::{Asker, Brought, Data};
use crate::json::Split;
use crate::resource::{BadTarget, address};
use crate::strategy::TokenStrategy;

const PAGE: &str = "{page}";
/// A list that goes on for ever is none.
const MOST_PAGES: u32 = 10_000;
const MOST_TRIES: u32 = 6;
const PATIENCE: Duration = Duration::from_secs(15);
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// Why nobody knows whom to poll.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoList {
    /// The path gives no address.
    #[error(transparent)]
    BadTarget(#[from] BadTarget),
    /// A page could not be had.
    #[error("page {page} of the list of agents: {why}")]
    NoPage {
        /// Which.
        page: u32,
        /// What the last try met.
        why: Why,
    },
}

/// Reads pages from 1 on, until one is empty or brings nobody new. Without `{page}` in the
/// template there is one.
///
/// # Errors
/// When a page cannot be had after several tries.
pub async fn discover<S: TokenStrategy>(
    asker: &mut Asker<S>,
    base: &Url,
    template: &str,
    split: &Split,
) -> Result<Agents, NoList> {
    let (mut names, mut seen) = (Vec::new(), HashSet::new());
    let pages = if template.contains(PAGE) { MOST_PAGES } else { 1 };
    for page in 1..=pages {
        let target = address(base, &template.replace(PAGE, &page.to_string()))?;
        let mut pause = FIRST_PAUSE;
        let mut tries = 0;
        let Brought { data, .. } = loop {
            tries += 1;
            match asker.ask(&target, Some(split), PATIENCE).await {
                Ok(brought) => break brought,
                Err(Miss { why, .. }) if tries == MOST_TRIES => {
                    return Err(NoList::NoPage { page, why });
                }
                Err(Miss { retry_after, .. }) => sleep(retry_after.unwrap_or(pause)).await,
            }
            pause *= 2;
        };
        let items = match data {
            Data::Items(items) => items,
            Data::Unchanged | Data::Whole(_) => Vec::new(),
        };
        let before = names.len();
        names.extend(
            items.into_iter().map(|(name, _)| name).filter(|name| seen.insert(name.clone())),
        );
        if names.len() == before {
            break;
        }
    }
    Ok(Agents::from_names(names))
}
