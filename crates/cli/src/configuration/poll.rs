//! `[[poll]]`: what is polled for whom, how often, and where it goes.

use std::path::PathBuf;
use std::time::Duration;

use bellwether_poller::{Shape, Split};

use super::secret_source::{self, SourcedSecret};
use super::section::{Context, Field, Section};
use super::{Declared, Named, duration, name, size};

/// Workers, unless told otherwise: requests that are under way at once.
pub const DEFAULT_WORKERS: u16 = 50;
/// A file of samples is full at this size, unless told otherwise.
pub const DEFAULT_ROTATE: u64 = 64 << 20;
const SHORTEST_PERIOD: Duration = Duration::from_millis(100);
const LONGEST_PERIOD: Duration = Duration::from_secs(86_400);
const MOST_WORKERS: i64 = 1_000;
const MOST_AT_ONCE: i64 = 10_000;

/// One resource, polled for many agents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poll {
    /// Its name, which its output carries.
    pub name: String,
    /// The credential that pays for it.
    pub credential: String,
    /// The path of a sample below the resource server, with a placeholder for whom it is about.
    pub path: String,
    /// How agents are asked for.
    pub shape: Shape,
    /// Whom to poll; pages tell themselves.
    pub agents: Option<AgentList>,
    /// Where an answer has its agents, if it tells of several.
    pub split: Option<Split>,
    /// How often each agent is due.
    pub period: Duration,
    /// Requests under way at once, at most.
    pub workers: u16,
    /// Whether what did not change need not be sent again.
    pub conditional: bool,
    /// The path by which a gap is filled later.
    pub backfill: Option<String>,
    /// Where samples go.
    pub output: OutputPlace,
}

/// Where the list of agents comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentList {
    /// A file, an agent a line.
    File(PathBuf),
    /// What a program prints, an agent a line.
    Command(Vec<String>),
    /// A list of the API's own.
    List {
        /// Its path, with `{page}` if it has pages.
        path: String,
        /// Where its agents are.
        split: Split,
    },
}

/// Where samples go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputPlace {
    /// Standard output, with a cursor in a file if there is to be one.
    Lines {
        /// Where the cursor is kept.
        cursor: Option<PathBuf>,
    },
    /// Files in a directory.
    Files {
        /// Which.
        directory: PathBuf,
        /// A file is full at so many bytes.
        rotate: u64,
    },
    /// A database file.
    Sqlite(PathBuf),
    /// A database on a server, by its URL.
    Postgres(SourcedSecret),
}

impl Named for Poll {
    fn name(&self) -> &str {
        &self.name
    }
}

/// The period, if it can be kept.
pub fn period(text: &str) -> Result<Duration, String> {
    let period = duration::parse(text)?;
    if (SHORTEST_PERIOD..=LONGEST_PERIOD).contains(&period) {
        return Ok(period);
    }
    let (least, most) = (duration::write(SHORTEST_PERIOD), duration::write(LONGEST_PERIOD));
    Err(format!("must be {least} to {most}"))
}

/// `None` when something in the section is wrong; then it was reported.
pub(super) fn read(
    context: &mut Context<'_>,
    mut section: Section<'_>,
    declared: &Declared,
) -> Option<Poll> {
    let name =
        section.required("name", "\"NAME\"").and_then(|field| field.parse(context, name::check));
    let credential = section
        .required("credential", "\"NAME\"")
        .and_then(|field| declared.credential(context, &field));
    let path = section
        .required("path", "\"/api/v2/users/{agent}\"")
        .and_then(|field| field.parse(context, template));
    let shape = shape(context, &mut section);
    let agents = match section.optional("agents") {
        Some(field) => agents(context, &field).map(Some),
        None if matches!(shape, Some(Shape::Pages(_))) => Some(None),
        None => {
            section.missing("agents", "is missing; write agents = { file = \"agents.txt\" }");
            None
        }
    };
    let split = split(context, &mut section);
    let every = section.required("period", "\"5s\"").and_then(|field| field.parse(context, period));
    let workers = match section.optional("workers") {
        Some(field) => whole(context, &field, MOST_WORKERS).map(|n| u16::try_from(n).unwrap_or(1)),
        None => Some(DEFAULT_WORKERS),
    };
    let conditional = match section.optional("conditional") {
        Some(field) => field.boolean(context),
        None => Some(false),
    };
    let backfill = match section.optional("backfill") {
        Some(field) => field.parse(context, template).map(Some),
        None => Some(None),
    };
    let output = section
        .required("output", "\"-\" or { files = \"samples\" } or { sqlite = \"samples.db\" }")
        .and_then(|field| output(context, &field));
    section.finish(context);
    let shape = shape?;
    let split = match shape {
        Shape::Each => None,
        Shape::Together(_) | Shape::Pages(_) => Some(split?),
    };
    Some(Poll {
        name: name?.to_owned(),
        credential: credential?.to_owned(),
        path: path?,
        shape,
        agents: agents?,
        split,
        period: every?,
        workers: workers?,
        conditional: conditional?,
        backfill: backfill?,
        output: output?,
    })
}

fn template(text: &str) -> Result<String, &'static str> {
    if text.starts_with('/') {
        Ok(text.to_owned())
    } else {
        Err("is a path below the resource server; begin it with /")
    }
}

fn shape(context: &mut Context<'_>, section: &mut Section<'_>) -> Option<Shape> {
    let (together, pages) = (section.optional("together"), section.optional("pages"));
    match (together, pages) {
        (None, None) => Some(Shape::Each),
        (Some(field), None) => {
            let most = whole(context, &field, MOST_AT_ONCE)?;
            Some(Shape::Together(usize::try_from(most).ok()?))
        }
        (None, Some(field)) => {
            let pages = whole(context, &field, MOST_AT_ONCE)?;
            Some(Shape::Pages(u32::try_from(pages).ok()?))
        }
        (Some(_), Some(field)) => {
            field.refuse(context, "is another way to ask than together; keep one of them")
        }
    }
}

/// A whole number from 1 on.
fn whole(context: &mut Context<'_>, field: &Field<'_>, most: i64) -> Option<i64> {
    match field.as_integer() {
        Some(number) if (1..=most).contains(&number) => Some(number),
        Some(_) | None => field.refuse(context, format!("must be a whole number from 1 to {most}")),
    }
}

/// Where an answer has its agents: as most APIs do, unless told otherwise.
fn split(context: &mut Context<'_>, section: &mut Section<'_>) -> Option<Split> {
    let mut text = |key: &'static str, usual: &str| match section.optional(key) {
        Some(field) => field.string(context).map(str::to_owned),
        None => Some(usual.to_owned()),
    };
    let (items, id) = (text("items", "entities"), text("id", "id"));
    Some(Split { items: items?, id: id? })
}

fn agents(context: &mut Context<'_>, field: &Field<'_>) -> Option<AgentList> {
    let mut section = field.section(context)?;
    let file = section.optional("file");
    let command = section.optional("command");
    let list = section.optional("list");
    let split = split(context, &mut section);
    section.finish(context);
    match (file, command, list) {
        (Some(file), None, None) => {
            let path = file.string(context)?;
            Some(AgentList::File(context.directory.join(path)))
        }
        (None, Some(command), None) => {
            let words = command.items(context)?;
            let words: Option<Vec<String>> =
                words.iter().map(|word| word.string(context).map(str::to_owned)).collect();
            let words = words?;
            if words.first().is_none_or(String::is_empty) {
                return command.refuse(context, "is empty; name a program and its arguments");
            }
            Some(AgentList::Command(words))
        }
        (None, None, Some(list)) => {
            let path = list.parse(context, template)?;
            Some(AgentList::List { path, split: split? })
        }
        _ => field.refuse(
            context,
            "says one way to the agents: { file = \"PATH\" }, { command = [\"PROGRAM\", …] } or \
             { list = \"/PATH?page={page}\" }",
        ),
    }
}

/// `-`, or a table that names one place.
fn output(context: &mut Context<'_>, field: &Field<'_>) -> Option<OutputPlace> {
    const EXAMPLE: &str = "\"-\", { files = \"DIRECTORY\" }, { sqlite = \"PATH\" }, \
         { postgres = { env = \"NAME\" } } or { cursor = \"PATH\" }";
    if !field.is_table() {
        return match field.string(context)? {
            "-" => Some(OutputPlace::Lines { cursor: None }),
            _ => field.refuse(context, format!("is no output; write {EXAMPLE}")),
        };
    }
    let mut section = field.section(context)?;
    let mut path = |key: &'static str| -> Option<Option<PathBuf>> {
        match section.optional(key) {
            Some(field) => field.string(context).map(|path| Some(context.directory.join(path))),
            None => Some(None),
        }
    };
    let (files, sqlite, cursor) = (path("files")?, path("sqlite")?, path("cursor")?);
    let postgres = match section.optional("postgres") {
        Some(field) => Some(secret_source::read(context, &field)?),
        None => None,
    };
    let rotate = match section.optional("rotate") {
        Some(field) => field.parse(context, size::parse),
        None => Some(DEFAULT_ROTATE),
    };
    section.finish(context);
    match (files, sqlite, postgres, cursor) {
        (Some(directory), None, None, None) => {
            Some(OutputPlace::Files { directory, rotate: rotate?.max(1) })
        }
        (None, Some(path), None, None) => Some(OutputPlace::Sqlite(path)),
        (None, None, Some(url), None) => Some(OutputPlace::Postgres(url)),
        (None, None, None, cursor @ Some(_)) => Some(OutputPlace::Lines { cursor }),
        _ => field.refuse(context, format!("names one place: {EXAMPLE}")),
    }
}
