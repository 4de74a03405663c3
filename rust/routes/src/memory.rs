//! The table's memory: a shared mapping of a memfd, or the heap for tests and single processes.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::ptr::{NonNull, null_mut};

use rustix::fs::{
    MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create,
};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::bucket::Bucket;
use crate::header::Header;

/// Bytes of a table with `buckets` buckets; `None` when they cannot be addressed.
pub(crate) fn table_bytes(buckets: u64) -> Option<usize> {
    usize::try_from(buckets)
        .ok()?
        .checked_mul(size_of::<Bucket>())?
        .checked_add(size_of::<Header>())
        .filter(|&bytes| isize::try_from(bytes).is_ok())
}

/// Zeroed memory of one table, at least as large as a header, aligned to a page.
#[derive(Debug)]
pub(crate) struct Memory {
    start: NonNull<u8>,
    bytes: usize,
    shared: bool,
}

// SAFETY: the memory is reached only through shared references to atomics, and freed by the last owner.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// A memfd of `bytes` zeroes that can no more change its size, so that a mapping of it never faults.
    pub(crate) fn create(name: &str, bytes: usize) -> io::Result<OwnedFd> {
        let fd = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&fd, bytes as u64)?;
        fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok(fd)
    }

    /// Maps a whole memfd made by [`Memory::create`]; `None` when the file is none or is too small.
    pub(crate) fn map(fd: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        let size = fstat(fd)?.st_size;
        let sealed = fcntl_get_seals(fd).is_ok_and(|seals| seals.contains(SealFlags::SHRINK));
        let Some(bytes) = usize::try_from(size)
            .ok()
            .filter(|&size| size >= size_of::<Header>())
        else {
            return Ok(None);
        };
        if !sealed {
            return Ok(None);
        }
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: the kernel chooses the address, so no existing mapping is replaced.
        let start = unsafe { mmap(null_mut(), bytes, protection, flags, fd, 0) }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Some(Self {
            start,
            bytes,
            shared: true,
        }))
    }

    /// Zeroed memory of this process only.
    pub(crate) fn heap(bytes: usize) -> Self {
        let layout = Self::heap_layout(bytes);
        // SAFETY: the layout's size is at least a header's, so not zero.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else {
            handle_alloc_error(layout)
        };
        Self {
            start,
            bytes,
            shared: false,
        }
    }

    fn heap_layout(bytes: usize) -> Layout {
        assert!(bytes >= size_of::<Header>());
        Layout::from_size_align(bytes, align_of::<Header>()).expect("table_bytes() bounds the size")
    }

    pub(crate) fn header(&self) -> &Header {
        // SAFETY: the memory holds at least a header, is page-aligned and lives as long as `self`; a header
        // is atomics only, for which every bit pattern is valid and shared writing is allowed.
        unsafe { self.start.cast::<Header>().as_ref() }
    }

    /// The buckets that fit behind the header.
    pub(crate) fn buckets(&self) -> &[Bucket] {
        let count = (self.bytes - size_of::<Header>()) / size_of::<Bucket>();
        // SAFETY: `count` buckets lie behind the header inside the memory; a header's size is a multiple of
        // a bucket's alignment; buckets are atomics only, as above.
        unsafe {
            let first = self.start.add(size_of::<Header>()).cast::<Bucket>();
            std::slice::from_raw_parts(first.as_ptr(), count)
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.shared {
            // SAFETY: mapped in `map` with this address and length; no reference outlives `self`.
            // It fails for wrong arguments only, and a destructor could do nothing about it.
            let _ = unsafe { munmap(self.start.as_ptr().cast(), self.bytes) };
        } else {
            // SAFETY: allocated in `heap` with the same layout; no reference outlives `self`.
            unsafe { dealloc(self.start.as_ptr(), Self::heap_layout(self.bytes)) };
        }
    }
}
