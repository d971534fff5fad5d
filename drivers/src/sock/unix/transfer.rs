//! Reading into the spare room of buffers, and writing many slices at once.

use std::io::{self, IoSlice};
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use nix::errno::Errno;
use nix::libc;

use super::{creation, retry};
use crate::sock::{SLICES_MAX, SPACES_MAX, Space};

/// Reads once, filling the spaces one after the other, at most [`SPACES_MAX`] of them.
///
/// Returns the number of bytes; 0 is the end of the stream. The buffers never grow beyond their
/// capacity.
///
/// # Errors
/// `WouldBlock` if there is nothing to read yet; `InvalidInput` if there is no room in the
/// spaces, which would look like the end of the stream; otherwise what the system says.
pub fn read_vectored(fd: BorrowedFd<'_>, spaces: &mut [Space<'_>]) -> io::Result<usize> {
    let mut vectors = [libc::iovec {
        iov_base: ptr::null_mut(),
        iov_len: 0,
    }; SPACES_MAX];
    let mut room = 0;
    for (vector, space) in vectors.iter_mut().zip(spaces.iter_mut()) {
        vector.iov_len = space.room();
        vector.iov_base = space.buf.spare_capacity_mut().as_mut_ptr().cast();
        room += vector.iov_len;
    }
    if room == 0 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "no room to read into",
        ));
    }
    let total = match spaces.len().min(SPACES_MAX) {
        // The call for one is the cheaper one.
        1 => {
            let libc::iovec { iov_base, iov_len } = vectors[0];
            retry(|| {
                // SAFETY: it is spare capacity of a buffer that is borrowed mutably meanwhile.
                Errno::result(unsafe { libc::recv(fd.as_raw_fd(), iov_base, iov_len, 0) })
            })?
        }
        count => retry(|| {
            let count = count as libc::c_int;
            // SAFETY: each vector is spare capacity of a buffer that is borrowed mutably meanwhile.
            Errno::result(unsafe { libc::readv(fd.as_raw_fd(), vectors.as_ptr(), count) })
        })?,
    } as usize;
    let mut rest = total;
    for space in spaces {
        let filled = space.room().min(rest);
        let len = space.buf.len() + filled;
        // SAFETY: the system has filled the vectors in order, so these bytes are written; they
        // are within the capacity, as room is.
        unsafe { space.buf.set_len(len) };
        rest -= filled;
    }
    Ok(total)
}

/// Sends the slices, at most [`SLICES_MAX`] of them, by one call. For stream sockets.
///
/// Returns the number of bytes that were taken.
///
/// # Errors
/// `WouldBlock` without room in the send buffer; `BrokenPipe` (and never a signal) after the
/// end of the connection; otherwise what the system says.
pub fn write_vectored(fd: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    if let [slice] = slices {
        let (at, len) = (slice.as_ptr().cast(), slice.len());
        let sent = retry(|| {
            // SAFETY: the slice is borrowed meanwhile, and only read.
            Errno::result(unsafe { libc::send(fd.as_raw_fd(), at, len, creation::SEND_FLAGS) })
        })?;
        return Ok(sent as usize);
    }
    // SAFETY: a message of zero bytes is an empty one.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    // IoSlice promises the layout of iovec. The pointer is mutable in form only.
    message.msg_iov = slices.as_ptr().cast_mut().cast();
    message.msg_iovlen = slices.len().min(SLICES_MAX) as _;
    let sent = retry(|| {
        // SAFETY: the message holds the slices, which are borrowed meanwhile, and nothing else.
        let sent =
            unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, creation::SEND_FLAGS) };
        Errno::result(sent)
    })?;
    Ok(sent as usize)
}
