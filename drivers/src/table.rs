//! The registered sources of one driver, by slot.
//!
//! Invariants: a slot has at most one tenant; a descriptor is registered at most once; the table
//! holds each descriptor open. It checks what the contract says of tokens, so that the drivers
//! need not. It makes no system call. Used by the driver's thread.
#![allow(dead_code, reason = "no backend uses all of it")]

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use crate::handle::{self, Handle, HandleRef, RawHandle};
use crate::{SLOTS_MAX, Source, Token};

/// A registered source with what its driver keeps about it.
pub(crate) struct Entry<S> {
    fd: Arc<Handle>,
    generation: u32,
    pub(crate) state: S,
}

impl<S> Entry<S> {
    pub(crate) fn fd(&self) -> HandleRef<'_> {
        handle::borrow(&self.fd)
    }
}

pub(crate) struct Table<S> {
    slots: Vec<Option<Entry<S>>>,
    fds: HashSet<RawHandle>,
}

impl<S> Table<S> {
    pub(crate) fn new() -> Self {
        Self {
            slots: Vec::new(),
            fds: HashSet::new(),
        }
    }

    /// Checks that `source` can become the tenant of `token`'s slot, and gives its descriptor.
    pub(crate) fn vacancy(&self, source: Source, token: Token) -> io::Result<Arc<Handle>> {
        let Some(fd) = handle::of(source) else {
            let text = "a kernel driver watches descriptors only";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        };
        if token.slot >= SLOTS_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "slot beyond SLOTS_MAX",
            ));
        }
        if matches!(self.slots.get(token.slot as usize), Some(Some(_))) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "slot in use"));
        }
        if self.fds.contains(&handle::raw(&fd)) {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "descriptor registered",
            ));
        }
        Ok(fd)
    }

    /// Fills the slot that [`vacancy`](Self::vacancy) found to be free.
    pub(crate) fn insert(&mut self, token: Token, fd: Arc<Handle>, state: S) {
        let slot = token.slot as usize;
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        debug_assert!(self.slots[slot].is_none());
        self.fds.insert(handle::raw(&fd));
        self.slots[slot] = Some(Entry {
            fd,
            generation: token.generation,
            state,
        });
    }

    /// The tenant that `token` names.
    pub(crate) fn get_mut(&mut self, token: Token) -> io::Result<&mut Entry<S>> {
        match self.slots.get_mut(token.slot as usize) {
            Some(Some(entry)) if entry.generation == token.generation => Ok(entry),
            _ => Err(not_found()),
        }
    }

    /// The tenant of a slot, with its token.
    pub(crate) fn tenant(&mut self, slot: usize) -> Option<(Token, &mut Entry<S>)> {
        let entry = self.slots.get_mut(slot)?.as_mut()?;
        Some((
            Token {
                slot: slot as u32,
                generation: entry.generation,
            },
            entry,
        ))
    }

    /// All tenants.
    pub(crate) fn tenants(&mut self) -> impl Iterator<Item = (Token, &mut Entry<S>)> {
        let slots = (0..).zip(&mut self.slots);
        slots.filter_map(|(slot, entry)| {
            let entry = entry.as_mut()?;
            let generation = entry.generation;
            Some((Token { slot, generation }, entry))
        })
    }

    pub(crate) fn remove(&mut self, token: Token) -> io::Result<Entry<S>> {
        self.get_mut(token)?;
        let entry = self.slots[token.slot as usize]
            .take()
            .ok_or_else(not_found)?;
        self.fds.remove(&handle::raw(&entry.fd));
        Ok(entry)
    }
}

fn not_found() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "token not registered")
}
