//! Resource limits (getrlimit(2)).

/// A soft and a hard limit; `u64::MAX` is `RLIM_INFINITY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Rlimit {
    /// What is enforced.
    pub soft: u64,
    /// Up to where `soft` may be raised.
    pub hard: u64,
}

/// The sixteen resources with their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "names are getrlimit(2)'s own")]
pub enum Resource {
    Cpu = 0,
    Fsize = 1,
    Data = 2,
    Stack = 3,
    Core = 4,
    Rss = 5,
    Nproc = 6,
    Nofile = 7,
    Memlock = 8,
    As = 9,
    Locks = 10,
    Sigpending = 11,
    Msgqueue = 12,
    Nice = 13,
    Rtprio = 14,
    Rttime = 15,
}

impl Resource {
    /// From a guest's number.
    #[must_use]
    pub fn new(number: u64) -> Option<Resource> {
        use Resource::*;
        const ALL: [Resource; 16] = [
            Cpu, Fsize, Data, Stack, Core, Rss, Nproc, Nofile, Memlock, As, Locks, Sigpending,
            Msgqueue, Nice, Rtprio, Rttime,
        ];
        usize::try_from(number)
            .ok()
            .and_then(|n| ALL.get(n).copied())
    }
}

/// All limits of a process.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Rlimits([Rlimit; 16]);

impl Default for Rlimits {
    fn default() -> Self {
        const INFINITY: u64 = u64::MAX;
        let mut all = [Rlimit {
            soft: INFINITY,
            hard: INFINITY,
        }; 16];
        let mut set = |r: Resource, soft, hard| all[r as usize] = Rlimit { soft, hard };
        set(Resource::Stack, 8 << 20, INFINITY);
        set(Resource::Core, 0, 0);
        set(Resource::Nproc, 1024, 1024);
        set(Resource::Nofile, 1024, 65536);
        set(Resource::Memlock, 8 << 20, 8 << 20);
        set(Resource::Sigpending, 1024, 1024);
        set(Resource::Msgqueue, 819_200, 819_200);
        set(Resource::Nice, 0, 0);
        set(Resource::Rtprio, 0, 0);
        Rlimits(all)
    }
}

impl Rlimits {
    /// One limit.
    #[must_use]
    pub fn get(&self, resource: Resource) -> Rlimit {
        self.0[resource as usize]
    }

    /// Changes one limit.
    pub fn set(&mut self, resource: Resource, limit: Rlimit) {
        self.0[resource as usize] = limit;
    }
}
