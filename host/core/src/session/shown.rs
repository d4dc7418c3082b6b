//! What anybody may show a party during a session, because it is signed and is about more than the session.

use super::effect::Effect;
use super::frame::Frame;
use super::{Effects, Session};
use crate::ban::MAX_BANS;
use crate::hello::{Hello, SignedHello};

/// How many frames with bans are looked at in a session.
const MAX_FRAMES_WITH_BANS: usize = 64;

impl Session {
    /// Takes in what is shown; `None` for every other frame.
    pub(super) fn on_shown(&mut self, frame: &Frame) -> Option<Effects> {
        match frame {
            Frame::EarlierHello(signed) => Some(self.on_earlier_hello(signed)),
            Frame::Bans(bans) => {
                // Anybody may send them: no more are looked at than all peers have to tell, several times over.
                let is_wanted = self.frames_with_bans < MAX_FRAMES_WITH_BANS && bans.len() <= MAX_BANS;
                self.frames_with_bans += 1;
                Some(if is_wanted { vec![Effect::Bans(bans.clone())] } else { vec![] })
            }
            _ => None,
        }
    }

    /// Takes in a hello that is said to be this party's own, of whatever session. The signature proves it.
    fn on_earlier_hello(&self, signed: &SignedHello) -> Effects {
        let Hello { counter, database, .. } = signed.hello;
        let is_ahead = database == self.terms.database && counter > self.terms.counter;
        if !is_ahead || signed.verify(&self.key.public()).is_err() {
            return vec![];
        }
        vec![Effect::SetBack { counter }]
    }
}
