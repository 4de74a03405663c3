"""Where values lie, in memory that does not grow with them.

Buckets are log-linear: values below 2^(precision + 1) have one each; from there on every power of
two is cut into 2^precision equal ones. Recording costs a shift, an add and no object.
"""

from cpython.buffer cimport (
    PyBUF_SIMPLE,
    PyBUF_WRITABLE,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from libc.math cimport ceil
from libc.stdint cimport UINT64_MAX, uint64_t, uintptr_t
from libc.string cimport memset


cdef extern from *:
    int leading_zeros "__builtin_clzll"(unsigned long long value) nogil


cdef enum:
    VERSION = 1
    PRECISION_MAX = 14
    HEADER_BYTES = 64
    VALUE_BITS = 64


cdef class Histogram:
    """Values of one kind, from one writer; readers of shared memory see each count whole."""

    def __cinit__(self, unsigned int precision=7, unsigned int highest_bits=40, memory=None):
        """Quantiles are at most 2^-precision above the truth; values have `highest_bits` bits.

        `memory` is a writable buffer of `bytes_needed` that is either zero or a histogram of the
        same form, which goes on; without it the histogram has its own. ValueError: a precision
        that is not in 1 to 14, bits not in precision + 1 to 64, or a buffer of another size, not
        aligned to 8 bytes, or of another form.
        """
        size = Histogram.bytes_needed(precision, highest_bits)
        self.precision = precision
        self.highest_bits = highest_bits
        self.buckets = (size - HEADER_BYTES) // sizeof(uint64_t)
        memory = bytearray(size) if memory is None else memory
        PyObject_GetBuffer(memory, &self.view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        if <uint64_t>self.view.len != size:
            raise ValueError(f"a buffer of {self.view.len} bytes; {size} are needed")
        if <uintptr_t>self.view.buf % sizeof(uint64_t):
            raise ValueError("the buffer is not aligned to 8 bytes")
        self.header = <Header*>self.view.buf
        self.counts = <uint64_t*>(<char*>self.view.buf + HEADER_BYTES)
        cdef uint64_t form = VERSION | precision << 8 | highest_bits << 16
        if self.header.form == 0:
            self.clear()
            self.header.form = form
        elif self.header.form != form:
            raise ValueError("the buffer holds a histogram of another form")

    def __dealloc__(self):
        PyBuffer_Release(&self.view)

    @staticmethod
    def bytes_needed(unsigned int precision=7, unsigned int highest_bits=40):
        """Bytes of a histogram's memory. ValueError: as for making one."""
        if not 1 <= precision <= PRECISION_MAX:
            raise ValueError(f"precision {precision} is not in 1 to {PRECISION_MAX}")
        if not precision < highest_bits <= VALUE_BITS:
            raise ValueError(f"highest_bits {highest_bits} is not above {precision} or over 64")
        return HEADER_BYTES + ((highest_bits - precision + 1) << precision) * sizeof(uint64_t)

    # buckets

    cdef uint64_t index(self, uint64_t value) noexcept nogil:
        """The bucket of a value, which fits in `highest_bits`."""
        cdef unsigned int shift = 0
        if value >> self.precision:
            shift = VALUE_BITS - 1 - leading_zeros(value) - self.precision
        return (<uint64_t>shift << self.precision) + (value >> shift)

    cdef uint64_t upper(self, uint64_t index) noexcept nogil:
        """The largest value of a bucket."""
        cdef unsigned int shift = 0
        if index >> self.precision:
            shift = (index >> self.precision) - 1
        return ((index - (<uint64_t>shift << self.precision) + 1) << shift) - 1

    cdef void add(self, uint64_t value, uint64_t times) noexcept nogil:
        if self.highest_bits < VALUE_BITS and value >> self.highest_bits:
            value = (<uint64_t>1 << self.highest_bits) - 1
        self.counts[self.index(value)] += times
        self.header.count += times
        self.header.total += value * times
        self.header.smallest = min(self.header.smallest, value)
        self.header.largest = max(self.header.largest, value)

    cdef void clear(self) noexcept nogil:
        memset(self.counts, 0, self.buckets * sizeof(uint64_t))
        self.header.count = self.header.total = self.header.largest = 0
        self.header.smallest = UINT64_MAX

    # writing

    def record(self, uint64_t value, uint64_t times=1):
        """Count a value; one above the highest counts as the highest."""
        if times:
            self.add(value, times)

    def record_all(self, values):
        """Count every u64 of a buffer. ValueError: not a whole number of them, or not aligned."""
        cdef Py_buffer view
        cdef uint64_t i
        PyObject_GetBuffer(values, &view, PyBUF_SIMPLE)
        try:
            if view.len and (view.len | <uintptr_t>view.buf) % sizeof(uint64_t):
                raise ValueError(f"a buffer of {view.len} bytes is no array of u64")
            for i in range(view.len // sizeof(uint64_t)):
                self.add((<const uint64_t*>view.buf)[i], 1)
        finally:
            PyBuffer_Release(&view)

    def merge(self, Histogram other not None):
        """Add all counts of another one. ValueError: it has another form."""
        cdef uint64_t i
        if other.header.form != self.header.form:
            raise ValueError("the other histogram has another form")
        for i in range(self.buckets):
            self.counts[i] += other.counts[i]
        self.header.count += other.header.count
        self.header.total += other.header.total
        self.header.smallest = min(self.header.smallest, other.header.smallest)
        self.header.largest = max(self.header.largest, other.header.largest)

    def reset(self):
        """Forget all values."""
        self.clear()

    # reading

    def quantile(self, double q):
        """A value that is at or above the fraction `q` of all values, and by how much is bounded.

        It is the largest of its bucket, at most 2^-precision above the exact quantile, and never
        above the largest value; 0 before the first. ValueError: `q` is not in 0 to 1.
        """
        cdef uint64_t i, rank, count = 0
        if not 0.0 <= q <= 1.0:
            raise ValueError(f"quantile {q} is not in 0 to 1")
        # Counted anew: a writer may be between a bucket and the header.
        for i in range(self.buckets):
            count += self.counts[i]
        if count == 0:
            return 0
        rank = min(max(<uint64_t>ceil(q * count), <uint64_t>1), count)
        i = 0
        count = self.counts[0]
        while count < rank:
            i += 1
            count += self.counts[i]
        return min(self.upper(i), self.header.largest)

    @property
    def count(self):
        """Values recorded."""
        return self.header.count

    @property
    def total(self):
        """Their sum, modulo 2^64."""
        return self.header.total

    @property
    def smallest(self):
        """The smallest value; 0 before the first."""
        return self.header.smallest if self.header.count else 0

    @property
    def largest(self):
        """The largest value; 0 before the first."""
        return self.header.largest

    @property
    def memory_bytes(self):
        """Bytes of its memory."""
        return self.view.len
