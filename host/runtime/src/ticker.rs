//! The tick: interrupts running components, so that they yield and are counted.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;

use wasmtime::Engine;

use crate::limits;

/// Advances the engine's epoch at every [`limits::EPOCH_TICK_INTERVAL`]. A thread of its own: pools that are busy
/// must not delay the very interruption that frees them.
pub(crate) struct Ticker {
    /// Dropping it ends the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub(crate) fn start(engine: Engine) -> std::io::Result<Self> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new().name("sandbox-tick".into()).spawn(move || {
            while stopped.recv_timeout(limits::EPOCH_TICK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                engine.increment_epoch();
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // It ends within one tick; a panic in it would be ours and changes nothing now.
            let _ = thread.join();
        }
    }
}
