//! Whom to poll: a list of agents, read line by line.

use std::collections::HashMap;
use std::fmt;

/// The highest priority.
const HIGHEST_PRIORITY: u8 = 9;
/// Longer names belong to no agent.
const LONGEST_NAME: usize = 256;

/// Whom to poll, each once, in the order of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agents {
    names: Vec<String>,
    priorities: Vec<u8>,
}

/// A line that names no agent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct BadAgent {
    line: usize,
    what: String,
}

impl Agents {
    /// Reads a list: one agent a line, `NAME` or `NAME,PRIORITY` with 0 (as without) to 9, the
    /// highest, which is served first when time is short. Empty lines and what begins with `#`
    /// are left out.
    ///
    /// # Errors
    /// The first line that is no agent, or one that was there before.
    pub fn read(text: &str) -> Result<Self, BadAgent> {
        let mut agents = Self::default();
        let mut seen: HashMap<String, usize> = HashMap::new();
        for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let (line, bare) = (index + 1, line.trim());
            if bare.is_empty() || bare.starts_with('#') {
                continue;
            }
            let refused = |what: String| BadAgent { line, what };
            let (name, priority) = split(bare).map_err(refused)?;
            check(name).map_err(refused)?;
            if let Some(first) = seen.insert(name.to_owned(), line) {
                return Err(refused(format!("{name:?} is in line {first} already")));
            }
            agents.names.push(name.to_owned());
            agents.priorities.push(priority);
        }
        Ok(agents)
    }

    /// From names alone; those that are no names, or come again, are left out.
    pub fn from_names(names: impl IntoIterator<Item = String>) -> Self {
        let mut agents = Self::default();
        let mut seen = std::collections::HashSet::new();
        for name in names {
            if check(&name).is_ok() && seen.insert(name.clone()) {
                agents.names.push(name);
                agents.priorities.push(0);
            }
        }
        agents
    }

    /// In the order of the list.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// By agent.
    pub fn priorities(&self) -> &[u8] {
        &self.priorities
    }
}

fn split(line: &str) -> Result<(&str, u8), String> {
    let Some((name, priority)) = line.rsplit_once(',') else { return Ok((line, 0)) };
    let number = priority.trim().parse().ok().filter(|priority| *priority <= HIGHEST_PRIORITY);
    let number = number.ok_or_else(|| {
        format!("{priority:?} is no priority; write a number from 0 to 9 behind the comma")
    })?;
    Ok((name.trim_end(), number))
}

/// Whether it is a name.
pub(crate) fn check(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > LONGEST_NAME {
        return Err(format!("a name has 1 to {LONGEST_NAME} bytes"));
    }
    if name.chars().any(char::is_control) {
        return Err("a name has no control characters".to_owned());
    }
    Ok(())
}

impl fmt::Display for Agents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} agents", self.names.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_line_by_line() {
        let text = "\u{feff}# team A\nada\n\n  bob , 9\r\nc d,0\n";
        let agents = Agents::read(text).unwrap();
        assert_eq!(agents.names(), ["ada", "bob", "c d"]);
        assert_eq!(agents.priorities(), [0, 9, 0]);
        assert_eq!(Agents::read("").unwrap(), Agents::default());
    }

    #[test]
    fn a_bad_line_is_named() {
        #[rustfmt::skip]
        let cases = [
            ("ada\nada",        "line 2: \"ada\" is in line 1 already"),
            ("ada\n\nbob,10",   "line 3: \"10\" is no priority; write a number from 0 to 9 behind the comma"),
            ("ada,high",        "line 1: \"high\" is no priority; write a number from 0 to 9 behind the comma"),
            (",3",              "line 1: a name has 1 to 256 bytes"),
            ("a\u{7}b",         "line 1: a name has no control characters"),
        ];
        for (text, expected) in cases {
            assert_eq!(Agents::read(text).unwrap_err().to_string(), expected, "{text:?}");
        }
        assert!(Agents::read(&"x".repeat(257)).is_err());
    }

    #[test]
    fn names_that_come_again_are_one_agent() {
        let names = ["a", "b", "a", "", "c\n"].map(str::to_owned);
        assert_eq!(Agents::from_names(names).names(), ["a", "b"]);
    }
}
