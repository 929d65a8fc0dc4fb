//! Which limit tells the dead from the living best?
//!
//! Each time a token is used, it has an age and a number of newer tokens, and it is alive or dead.
//! If tokens are evicted, there is a number of newer tokens (the cap) above which they are dead; if
//! they expire, there is an age. Whichever separates the two with fewer mistakes is the cause.

const CELLS: usize = 1024;

/// How many were seen dead and alive at each value.
#[derive(Clone, Debug)]
pub(crate) struct Separation {
    dead: Vec<u64>,
    alive: Vec<u64>,
}

impl Default for Separation {
    fn default() -> Self {
        Self { dead: vec![0; CELLS], alive: vec![0; CELLS] }
    }
}

/// The best limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Limit {
    /// The lowest cell that may be the first of the dead: the living end below it.
    pub(crate) from: usize,
    /// The highest: there the dead begin.
    pub(crate) cell: usize,
    /// The share of the dead below it and of the living above it, added: 0 is perfect.
    pub(crate) mistakes: f64,
}

impl Separation {
    pub(crate) fn note(&mut self, cell: usize, alive: bool) {
        let side = if alive { &mut self.alive } else { &mut self.dead };
        side[cell.min(CELLS - 1)] += 1;
    }

    pub(crate) fn dead(&self) -> u64 {
        self.dead.iter().sum()
    }

    pub(crate) fn alive(&self) -> u64 {
        self.alive.iter().sum()
    }

    /// With all that are equally good.
    pub(crate) fn best(&self) -> Option<Limit> {
        let (dead, alive) = (self.dead(), self.alive());
        if dead == 0 {
            return None;
        }
        let mut best: Option<Limit> = None;
        let (mut dead_below, mut alive_below) = (0, 0);
        for cell in 0..CELLS {
            let missed = dead_below as f64 / dead as f64;
            let wrong = (alive - alive_below) as f64 / alive.max(1) as f64;
            let mistakes = missed + wrong;
            match &mut best {
                Some(best) if mistakes > best.mistakes + 1e-9 => {}
                Some(best) if mistakes > best.mistakes - 1e-9 => best.cell = cell,
                Some(_) | None => best = Some(Limit { from: cell, cell, mistakes }),
            }
            dead_below += self.dead[cell];
            alive_below += self.alive[cell];
        }
        best
    }

    /// The cell below which this share of the dead lies.
    pub(crate) fn dead_quantile(&self, share: f64) -> usize {
        let wanted = (self.dead() as f64 * share) as u64;
        let mut below = 0;
        for (cell, count) in self.dead.iter().enumerate() {
            below += count;
            if below > wanted {
                return cell;
            }
        }
        CELLS - 1
    }
}

/// An age in milliseconds as a cell: sixteen for each doubling, so that 4 % make a difference.
pub(crate) fn cell_of_age(age: i64) -> usize {
    let age = age.max(1) as f64;
    (age.log2() * 16.0) as usize
}

/// The age at which a cell begins.
pub(crate) fn age_of_cell(cell: usize) -> i64 {
    (cell as f64 / 16.0).exp2() as i64
}

#[cfg(test)]
mod tests {
    use super::Separation;

    #[test]
    fn the_limit_is_where_the_dead_begin() {
        let mut separation = Separation::default();
        for newer in 0..10 {
            separation.note(newer, true);
        }
        for newer in 10..30 {
            separation.note(newer, false);
        }
        let best = separation.best().expect("some are dead");
        assert_eq!((best.from, best.cell, best.mistakes), (10, 10, 0.0));
        // One late answer does not move it.
        separation.note(3, false);
        assert_eq!(separation.best().expect("some are dead").cell, 10);
        assert_eq!(separation.dead_quantile(0.5), 19);
    }
}
