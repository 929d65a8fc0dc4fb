//! What a run counts, and how it is shown.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, Table};
use serde::Serialize;

use crate::class::Class;

/// Counts over points of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Tally {
    /// Points that were tried.
    pub(crate) points: u64,
    /// Faults that fell before the request arrived at the authorization server.
    pub(crate) before: u64,
    /// … after that, before its answer left.
    pub(crate) during: u64,
    /// … after that.
    pub(crate) after: u64,
    /// The process had ended before anything befell it.
    pub(crate) missed: u64,
    /// Families lost where the class cannot prevent it.
    pub(crate) lost: u64,
    /// Families lost where they must not be. To be 0.
    pub(crate) lost_wrongly: u64,
    /// Points in which a refresh token was sent again, as its class allows while in doubt.
    pub(crate) replayed: u64,
    /// Points in which one was sent again without a doubt. To be 0.
    pub(crate) spent_twice: u64,
    /// Points in which a broker was seen `in_doubt`.
    pub(crate) in_doubt: u64,
    /// Families lost of which nobody was told the truth. To be 0.
    pub(crate) dishonest: u64,
    /// Processes that failed or hung although nothing befell them. To be 0.
    pub(crate) stuck: u64,
    /// Token responses with a new token.
    pub(crate) renewals: u64,
}

impl Tally {
    /// What is to be 0, added up.
    pub(crate) fn violations(&self) -> u64 {
        self.lost_wrongly + self.spent_twice + self.dishonest + self.stuck
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.points += more.points;
        self.before += more.before;
        self.during += more.during;
        self.after += more.after;
        self.missed += more.missed;
        self.lost += more.lost;
        self.lost_wrongly += more.lost_wrongly;
        self.replayed += more.replayed;
        self.spent_twice += more.spent_twice;
        self.in_doubt += more.in_doubt;
        self.dishonest += more.dishonest;
        self.stuck += more.stuck;
        self.renewals += more.renewals;
    }
}

/// Counts by class, in their order.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Tallies(pub(crate) BTreeMap<Class, Tally>);

impl Tallies {
    pub(crate) fn add(&mut self, class: Class, tally: Tally) {
        *self.0.entry(class).or_default() += tally;
    }

    pub(crate) fn violations(&self) -> u64 {
        self.0.values().map(Tally::violations).sum()
    }

    /// A table for people.
    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(NOTHING);
        table.set_header([
            "class", "points", "before", "during", "after", "missed", "lost", "lost!", "replayed",
            "twice!", "in doubt", "untold!", "stuck!", "renewals",
        ]);
        let mut all = Tally::default();
        for (class, tally) in &self.0 {
            all += *tally;
            table.add_row(row(&format!("{} {}", class.number(), class.as_str()), tally));
        }
        if self.0.len() > 1 {
            table.add_row(row("all", &all));
        }
        table
    }
}

fn row(name: &str, tally: &Tally) -> Vec<Cell> {
    let counts = [
        tally.points,
        tally.before,
        tally.during,
        tally.after,
        tally.missed,
        tally.lost,
        tally.lost_wrongly,
        tally.replayed,
        tally.spent_twice,
        tally.in_doubt,
        tally.dishonest,
        tally.stuck,
        tally.renewals,
    ];
    let count = |count: &u64| Cell::new(count).set_alignment(CellAlignment::Right);
    std::iter::once(Cell::new(name)).chain(counts.iter().map(count)).collect()
}

/// What the marks in the table's head mean.
pub(crate) const LEGEND: &str = "before, during, after: where the fault fell, seen from the \
authorization server · lost: families that class R1 cannot keep · columns with ! are to be 0: lost \
although it could be kept, a refresh token sent twice without a doubt, a loss that nobody was told \
of, a process that failed or hung by itself";
