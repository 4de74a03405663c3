//! What a partition is told when it is opened.

use imfast_wire::rate::Rate;

/// Version of the fold's rules. It is written into every batch; a change of any rule in
/// [`crate::Partition`] that could give an old log another result needs a new number.
pub const FOLD_VERSION: u16 = 1;

/// Identity and bounds of one partition.
#[derive(Debug, Clone)]
pub struct PartitionConfig {
    /// This partition's number, below `count`.
    pub partition: u16,
    /// Partitions in the layout, at least 1.
    pub count: u16,
    /// Generation of the layout that `count` belongs to.
    pub layout_generation: u32,
    /// Key of every hash, so that nobody outside can construct collisions. It must stay the same
    /// for the life of a data directory.
    pub hash_secret: [u8; 16],
    pub limits: Limits,
}

/// Bounds on what one command, group or user may take.
///
/// None of them is read while a log is replayed for the question whether a command is allowed:
/// what was once accepted stays accepted under any later configuration.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of one message's content (body, headers and flags as encoded).
    pub content_bytes_max: usize,
    /// Bytes of a group's title.
    pub title_bytes_max: usize,
    /// Users named by one create, add or remove.
    pub users_per_command_max: usize,
    /// Current members of one group.
    pub group_members_max: usize,
    /// Devices with cursors per user; the one that acknowledged longest ago gives way.
    pub devices_per_user_max: usize,
    /// How long a retry of a membership command is recognised, in milliseconds of batch time.
    pub command_window_ms: u64,
    /// How many membership commands are remembered for that, the oldest going first.
    pub command_window_count: usize,
    /// Sends to one group, and changes of it, that its members may make; none: as many as come.
    pub group_rate: Option<Rate>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            content_bytes_max: 72 * 1024,
            title_bytes_max: 256,
            users_per_command_max: 1_000,
            group_members_max: 100_000,
            devices_per_user_max: 64,
            command_window_ms: 24 * 60 * 60 * 1_000,
            command_window_count: 65_536,
            group_rate: None,
        }
    }
}
