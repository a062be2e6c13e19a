//! What user agents say, remembered by their text.

use std::sync::{Arc, Mutex, PoisonError};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use pixel_engine_agents::{Agent, Agents};

/// So many answers are remembered, some 300 bytes each: more than the table of user agents has room
/// for.
const MAX_ANSWERS: usize = 1 << 15;

/// Reads user agents, each of them once: a report that is drawn every second asks for the same ones
/// again.
pub struct AgentReader {
    agents: Agents,
    answers: Mutex<HashMap<Box<str>, Arc<Agent>, RandomState>>,
}

impl AgentReader {
    /// A reader that has read nothing yet.
    pub fn new(agents: Agents) -> AgentReader {
        AgentReader { agents, answers: Mutex::default() }
    }

    /// Prepares the rules for browsers and systems, which takes 50 to 70 ms and else happens when the
    /// first user agent is read.
    pub fn prepare(&self) {
        self.agents.read(b"");
    }

    /// Which user agents are bots.
    pub(crate) fn agents(&self) -> &Agents {
        &self.agents
    }

    /// What that user agent says.
    pub(crate) fn read(&self, name: &str) -> Arc<Agent> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = answers.get(name) {
            return Arc::clone(answer);
        }
        if answers.len() >= MAX_ANSWERS {
            answers.clear();
        }
        let answer = Arc::new(self.agents.read(name.as_bytes()));
        answers.insert(name.into(), Arc::clone(&answer));
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_remembered_and_no_more_than_there_is_room_for() {
        let reader = AgentReader::new(Agents::new());
        let one = reader.read("curl/8.0");
        assert!(Arc::ptr_eq(&one, &reader.read("curl/8.0")));
        let remembered = || reader.answers.lock().unwrap().len();
        let fill = |name: usize| reader.answers.lock().unwrap().insert(name.to_string().into(), Arc::clone(&one));
        (0..MAX_ANSWERS - 1).for_each(|name| drop(fill(name)));
        assert_eq!(remembered(), MAX_ANSWERS);
        assert!(reader.read("Wget/1.21").bot.is_some());
        assert_eq!(remembered(), 1);
    }
}
