//! What one request asks for: one agent, several at once, or a page of a list.

use std::sync::Arc;

use http::Uri;
use url::Url;

use crate::resource::{BadTarget, address, encoded};

const AGENT: &str = "{agent}";
const AGENTS: &str = "{agents}";
const PAGE: &str = "{page}";

/// How agents are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One request for each agent: `{agent}` in the path.
    Each,
    /// One request for so many agents: `{agents}` in the path, their names joined by commas.
    Together(usize),
    /// So many pages of a list, from 1 on: `{page}` in the path.
    Pages(u32),
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Where.
    pub(crate) target: Uri,
    /// Whom it is about, as far as that is known beforehand.
    pub(crate) agents: Vec<String>,
}

/// Every request of one period, in order. Clones share them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Questions(Arc<[Question]>);

impl Questions {
    /// The path `template` below `base`, for these agents; for pages there need be none.
    ///
    /// # Errors
    /// When that gives no address, or there is nobody to ask for.
    pub fn new(
        base: &Url,
        template: &str,
        shape: &Shape,
        agents: &[String],
    ) -> Result<Self, BadTarget> {
        let placeholder = match shape {
            Shape::Each => AGENT,
            Shape::Together(_) => AGENTS,
            Shape::Pages(_) => PAGE,
        };
        if !template.contains(placeholder) {
            return Err(BadTarget::NoPlaceholder(template.to_owned(), placeholder));
        }
        let question = |written: &str, agents: &[String]| -> Result<Question, BadTarget> {
            let target = address(base, &template.replace(placeholder, written))?;
            Ok(Question { target, agents: agents.to_vec() })
        };
        let questions: Arc<[Question]> = match shape {
            Shape::Each | Shape::Together(_) => {
                let at_once = if let Shape::Together(most) = shape { (*most).max(1) } else { 1 };
                let together = |chunk: &[String]| {
                    let names: Vec<String> = chunk.iter().map(|name| encoded(name)).collect();
                    question(&names.join(","), chunk)
                };
                agents.chunks(at_once).map(together).collect::<Result<_, _>>()?
            }
            Shape::Pages(pages) => (1..=*pages)
                .map(|page| question(&page.to_string(), &[]))
                .collect::<Result<_, _>>()?,
        };
        if questions.is_empty() { Err(BadTarget::NoAgents) } else { Ok(Self(questions)) }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Each address with its agents, for whoever must tell one list from another.
    pub fn iter(&self) -> impl Iterator<Item = (&Uri, &[String])> {
        self.0.iter().map(|question| (&question.target, &*question.agents))
    }

    /// This one; numbers past the last start over.
    pub fn get(&self, number: u32) -> &Question {
        let index = usize::try_from(number).unwrap_or(usize::MAX) % self.0.len();
        &self.0[index]
    }
}

impl Question {
    /// Whom it is about, as far as that is known beforehand.
    pub fn agents(&self) -> &[String] {
        &self.agents
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(template: &str, shape: &Shape, agents: &[&str]) -> Result<Vec<String>, BadTarget> {
        let agents: Vec<String> = agents.iter().map(|&name| name.to_owned()).collect();
        let base = "http://a.test/base/".parse().unwrap();
        let questions = Questions::new(&base, template, shape, &agents)?;
        Ok(questions
            .iter()
            .map(|(target, _)| target.path_and_query().unwrap().to_string())
            .collect())
    }

    #[test]
    fn each_shape_has_its_requests() {
        #[rustfmt::skip]
        let cases = [
            (Shape::Each,        "/v2/{agent}/status",  &["7", "a b/c"][..],  &["/base/v2/7/status", "/base/v2/a%20b%2Fc/status"][..]),
            (Shape::Together(2), "v2?id={agents}",      &["a", "b&", "c"],    &["/base/v2?id=a,b%26", "/base/v2?id=c"]),
            (Shape::Pages(2),    "/v2?page={page}",     &[],                  &["/base/v2?page=1", "/base/v2?page=2"]),
        ];
        for (shape, template, agents, expected) in cases {
            assert_eq!(asked(template, &shape, agents).unwrap(), expected, "{shape:?}");
        }
    }

    #[test]
    fn what_asks_for_nobody_is_refused() {
        assert_eq!(asked("/{agent}", &Shape::Each, &[]), Err(BadTarget::NoAgents));
        assert_eq!(asked("/{page}", &Shape::Pages(0), &[]), Err(BadTarget::NoAgents));
        let error = asked("/{agent}", &Shape::Together(9), &["a"]).unwrap_err().to_string();
        assert!(error.contains("{agents}"), "{error}");
        assert!(asked("/a b/{agent}", &Shape::Each, &["a"]).is_err());
    }
}
