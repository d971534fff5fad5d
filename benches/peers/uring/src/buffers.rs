//! The buffers that the kernel picks from, all of one size, in a ring.
//!
//! It takes them in the order in which they are given, and they are given back in that order, so
//! the one after a buffer is the next one by number too.

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::io::{self, ErrorKind};
use std::slice;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

/// What requests know the buffers by.
pub(crate) const GROUP: u16 = 0;

const PAGE: usize = 4096;

pub(crate) struct Buffers {
    ring: *mut BufRingEntry,
    memory: *mut u8,
    count: u16,
    size: u32,
    /// Where the next one is given, without end.
    tail: u16,
}

impl Buffers {
    /// Gives all of them to the kernel. Their memory stays as long as the process.
    pub(crate) fn new(uring: &IoUring, count: u16, size: u32) -> io::Result<Self> {
        if !count.is_power_of_two() || size == 0 {
            return Err(ErrorKind::InvalidInput.into());
        }
        let mut this = Self {
            ring: zeroed(usize::from(count) * size_of::<BufRingEntry>()).cast(),
            memory: zeroed(usize::from(count) * size as usize),
            count,
            size,
            tail: 0,
        };
        let submitter = uring.submitter();
        // SAFETY: the ring has so many entries, and is never freed.
        unsafe { submitter.register_buf_ring_with_flags(this.ring as u64, count, GROUP, 0)? };
        (0..count).for_each(|number| this.give(number));
        Ok(this)
    }

    /// The buffers, beginning with this one, that hold so many bytes; in pieces. They are the
    /// kernel's again afterwards.
    pub(crate) fn take(&mut self, mut number: u16, mut len: usize, mut with: impl FnMut(&[u8])) {
        while len > 0 {
            let here = len.min(self.size as usize);
            // SAFETY: the kernel filled that much of it, and has let it go.
            with(unsafe { slice::from_raw_parts(self.at(number), here) });
            self.give(number);
            number = (number + 1) & (self.count - 1);
            len -= here;
        }
    }

    fn at(&self, number: u16) -> *mut u8 {
        assert!(number < self.count, "a buffer");
        // SAFETY: it is one of them.
        unsafe { self.memory.add(usize::from(number) * self.size as usize) }
    }

    fn give(&mut self, number: u16) {
        let addr = self.at(number) as u64;
        // SAFETY: there are `count` entries, and the kernel does not look at this one yet. The
        // place of the tail in the first entry is not written here.
        let entry = unsafe { &mut *self.ring.add(usize::from(self.tail & (self.count - 1))) };
        entry.set_addr(addr);
        entry.set_len(self.size);
        entry.set_bid(number);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: there is a first entry.
        let tail = unsafe { BufRingEntry::tail(self.ring) }.cast_mut();
        // SAFETY: it lives as long as the process; only this thread writes there.
        let tail = unsafe { AtomicU16::from_ptr(tail) };
        tail.store(self.tail, Ordering::Release);
    }
}

fn zeroed(bytes: usize) -> *mut u8 {
    let layout = Layout::from_size_align(bytes, PAGE).expect("a layout");
    // SAFETY: there are bytes.
    let memory = unsafe { alloc_zeroed(layout) };
    if memory.is_null() {
        handle_alloc_error(layout);
    }
    memory
}
