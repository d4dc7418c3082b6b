//! What components say while their sessions run: kept for a moment, in bounded number, until it is sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use quorate_core::SessionId;
use quorate_core::event::ComponentEvent;
use quorate_core::report::UNLISTED_PLUGIN_CODE;
use quorate_runtime::capabilities::bus::{Bus, Event};
use tokio::sync::mpsc;

/// Events that wait to be sent. More are dropped.
const MAX_WAITING_EVENTS: usize = 256;

/// Events of one session that are sent. Later ones are dropped.
const MAX_SESSION_EVENTS: u32 = 64;

/// The events of all sessions of a process.
pub(crate) struct Events {
    sender: mpsc::Sender<(SessionId, ComponentEvent)>,
    receiver: Mutex<Option<mpsc::Receiver<(SessionId, ComponentEvent)>>>,
}

impl Events {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(MAX_WAITING_EVENTS);
        Self { sender, receiver: Mutex::new(Some(receiver)) }
    }

    /// The events, one after the other; `None` when somebody reads them already.
    pub(crate) fn waiting(&self) -> Option<mpsc::Receiver<(SessionId, ComponentEvent)>> {
        self.receiver.lock().take()
    }

    /// Where the component of a session publishes.
    pub(crate) fn of(&self, session: SessionId) -> Arc<dyn Bus> {
        Arc::new(SessionBus { session, sender: self.sender.clone(), published: AtomicU32::new(0) })
    }
}

/// The bus of one session.
struct SessionBus {
    session: SessionId,
    sender: mpsc::Sender<(SessionId, ComponentEvent)>,
    published: AtomicU32,
}

impl Bus for SessionBus {
    fn publish(&self, event: Event) {
        if self.published.fetch_add(1, Ordering::Relaxed) >= MAX_SESSION_EVENTS {
            return;
        }
        let event = match event {
            Event::Progress { step, of } => ComponentEvent::Progress { step, of },
            Event::PoolLevel(level) => ComponentEvent::PoolLevel(level),
            Event::Note(code) => ComponentEvent::Note(code.number().unwrap_or(UNLISTED_PLUGIN_CODE)),
        };
        let _ = self.sender.try_send((self.session, event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_dropped_beyond_what_a_session_may_publish_and_what_waits() {
        let events = Events::new();
        let bus = events.of(SessionId([1; 32]));
        for step in 0..2 * MAX_SESSION_EVENTS {
            bus.publish(Event::Progress { step, of: 2 * MAX_SESSION_EVENTS });
        }
        let mut waiting = events.waiting().unwrap();
        let mut read = Vec::new();
        while let Ok((_, event)) = waiting.try_recv() {
            read.push(event);
        }
        assert_eq!(read.len(), MAX_SESSION_EVENTS as usize);
        assert_eq!(read[0], ComponentEvent::Progress { step: 0, of: 128 });
        for session in 0..=u8::MAX {
            let bus = events.of(SessionId([session; 32]));
            (0..MAX_SESSION_EVENTS).for_each(|level| bus.publish(Event::PoolLevel(level)));
        }
        assert_eq!(waiting.len(), MAX_WAITING_EVENTS);
    }
}
