//! The order of work: blocks in the order of their files, and those that wait for a palette as soon as it is there.
//!
//! Workers take units until there are none. Since every block knows where its bytes go, the order matters only for speed
//! and memory: reading goes forward through the checkpoint, and few palettes are open at a time.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use anec_quantize::Palette;

use super::section::Section;

/// A piece of work.
#[derive(Clone, Debug)]
pub(super) enum Unit {
    /// Encode a block that depends on no other.
    Encode { section: usize, block: usize },
    /// Count the values of a block for the palette of its section.
    Count { section: usize, block: usize },
    /// Encode a block with the palette of its section.
    Assign { section: usize, block: usize, palette: Arc<Palette> },
}

/// What is left to do.
pub(super) struct Queue<'a> {
    sections: &'a [Section<'a>],
    /// Parts that are finished already.
    finished: &'a [bool],
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Blocks whose palette is there; they go first.
    ready: VecDeque<Unit>,
    next: Cursor,
    ahead: Cursor,
    /// Sections whose counting has begun and whose palette is not there.
    counting: usize,
    stopped: bool,
}

/// A block, by section.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    section: usize,
    block: usize,
}

/// Work for a worker, and what will be read soon.
pub(super) struct Next {
    pub(super) unit: Unit,
    /// Section and block that are worth loading ahead.
    pub(super) ahead: Option<(usize, usize)>,
}

impl<'a> Queue<'a> {
    /// Everything but the finished parts; loading runs `depth` blocks ahead.
    pub(super) fn new(sections: &'a [Section<'a>], finished: &'a [bool], depth: usize) -> Self {
        let queue = Self { sections, finished, state: Mutex::default(), changed: Condvar::new() };
        let mut ahead = Cursor::default();
        for _ in 0..depth {
            queue.advance(&mut ahead);
        }
        queue.lock().ahead = ahead;
        queue
    }

    /// The next unit; waits for one where palettes are being made, and is none when all is done or stopped.
    pub(super) fn next(&self) -> Option<Next> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            if let Some(unit) = state.ready.pop_front() {
                return Some(Next { unit, ahead: None });
            }
            if let Some((section, block)) = self.advance(&mut state.next) {
                let ahead = self.advance(&mut state.ahead);
                let is_shared = self.sections.get(section).is_some_and(Section::is_shared);
                if is_shared && block == 0 {
                    state.counting += 1;
                }
                let unit = if is_shared { Unit::Count { section, block } } else { Unit::Encode { section, block } };
                return Some(Next { unit, ahead });
            }
            if state.counting == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Puts the blocks of a section to work whose palette is there.
    pub(super) fn assign(&self, section: usize, palette: Palette) {
        let palette = Arc::new(palette);
        let mut state = self.lock();
        state.counting = state.counting.saturating_sub(1);
        if let Some(at) = self.sections.get(section) {
            let left = (0..at.block_count()).filter(|block| !self.is_finished(at.part(*block)));
            state.ready.extend(left.map(|block| Unit::Assign { section, block, palette: Arc::clone(&palette) }));
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Ends the work: no more units are handed out.
    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    /// The block at a cursor that has work left, and moves the cursor behind it.
    fn advance(&self, cursor: &mut Cursor) -> Option<(usize, usize)> {
        while let Some(section) = self.sections.get(cursor.section) {
            if cursor.block >= section.block_count() || (cursor.block == 0 && self.is_section_finished(section)) {
                *cursor = Cursor { section: cursor.section + 1, block: 0 };
                continue;
            }
            let block = cursor.block;
            cursor.block += 1;
            // Every block is needed to count what a palette is made of.
            if section.is_shared() || !self.is_finished(section.part(block)) {
                return Some((cursor.section, block));
            }
        }
        None
    }

    fn is_section_finished(&self, section: &Section<'_>) -> bool {
        (section.first_part..section.first_part + section.part_count()).all(|part| self.is_finished(part))
    }

    fn is_finished(&self, part: usize) -> bool {
        self.finished.get(part).copied().unwrap_or(false)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stops the work when it is dropped while a worker panics, so that no other waits for it.
pub(super) struct StopOnPanic<'a, 'b>(pub(super) &'a Queue<'b>);

impl Drop for StopOnPanic<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}
