//! One thread that makes all calls, one after another.
//!
//! Objects of Core ML stay on it, so none has to be shared between threads, and no two predictions overlap: states and
//! output buffers of the Neural Engine are not safe against that. Who waits for a call can be cancelled; the call itself
//! runs on, because Core ML cannot stop it, and what it gives is dropped.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

/// How often someone who waits looks whether to go on.
const PATIENCE: Duration = Duration::from_millis(20);

/// Tells calls that nobody waits for them any more. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Cancellation(Arc<AtomicBool>);

impl Cancellation {
    /// Cancels what is under way and whatever comes later.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A call that gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// It was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The thread ended in a panic, or could not be started.
    #[error("the thread that calls Core ML has ended")]
    Ended,
}

type Call<W> = Box<dyn FnOnce(&mut W) + Send>;

/// A thread with a workshop `W` that never leaves it. It ends when the last clone is dropped.
pub(super) struct Queue<W> {
    calls: Sender<Call<W>>,
    cancellation: Cancellation,
}

impl<W> Clone for Queue<W> {
    fn clone(&self) -> Self {
        Self { calls: self.calls.clone(), cancellation: self.cancellation.clone() }
    }
}

impl<W> fmt::Debug for Queue<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

impl<W: 'static> Queue<W> {
    /// Starts the thread; `make` runs on it.
    pub(super) fn start(make: impl FnOnce() -> W + Send + 'static, cancellation: Cancellation) -> Self {
        let (calls, received) = mpsc::channel::<Call<W>>();
        // Where no thread can be had, the receiver is dropped and every call says that the thread has ended.
        drop(std::thread::Builder::new().name("coreml".to_owned()).spawn(move || {
            let mut workshop = make();
            for call in received {
                call(&mut workshop);
            }
        }));
        Self { calls, cancellation }
    }

    /// Makes a call and waits for what it gives.
    pub(super) fn call<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut W) -> R + Send + 'static,
    ) -> Result<R, QueueError> {
        if self.cancellation.is_cancelled() {
            return Err(QueueError::Cancelled);
        }
        let (answer, answered) = mpsc::sync_channel(1);
        let cancellation = self.cancellation.clone();
        let call: Call<W> = Box::new(move |workshop| {
            // Whoever was cancelled while the call stood in line does not want it made.
            if !cancellation.is_cancelled() {
                let _ = answer.send(call(workshop));
            }
        });
        self.calls.send(call).map_err(|_| QueueError::Ended)?;
        loop {
            match answered.recv_timeout(PATIENCE) {
                Ok(result) => return Ok(result),
                Err(_) if self.cancellation.is_cancelled() => return Err(QueueError::Cancelled),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(QueueError::Ended),
            }
        }
    }

    /// Makes a call that nobody waits for.
    pub(super) fn send(&self, call: impl FnOnce(&mut W) + Send + 'static) {
        // A thread that has ended has nothing left to do.
        let _ = self.calls.send(Box::new(call));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_come_one_after_another_to_one_workshop() {
        let queue = Queue::start(Vec::new, Cancellation::default());
        let other = queue.clone();
        queue.send(|seen: &mut Vec<u32>| seen.push(1));
        other.send(|seen| seen.push(2));
        assert_eq!(queue.call(|seen| seen.clone()), Ok(vec![1, 2]));
    }

    #[test]
    fn who_waits_can_be_cancelled_and_the_call_is_not_waited_for() {
        let cancellation = Cancellation::default();
        let queue = Queue::start(|| (), cancellation.clone());
        let (release, held) = mpsc::channel::<()>();
        let (inside, cancel) = (cancellation.clone(), queue.clone());
        let waiting = std::thread::spawn(move || {
            cancel.call(move |()| {
                inside.cancel();
                let _ = held.recv();
            })
        });
        assert_eq!(waiting.join().expect("no panic"), Err(QueueError::Cancelled));
        assert_eq!(queue.call(|()| ()), Err(QueueError::Cancelled));
        drop(release);
    }

    #[test]
    fn a_panic_is_reported_and_does_not_hang() {
        let queue = Queue::start(|| (), Cancellation::default());
        assert_eq!(queue.call(|()| panic!("planned")), Err::<(), _>(QueueError::Ended));
        assert_eq!(queue.call(|()| ()), Err(QueueError::Ended));
    }
}
