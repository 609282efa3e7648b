//! The initial stack: strings, auxiliary vector, pointers (as `create_elf_tables` lays it out).

use base_abi::Errno;
use base_abi::auxvec;
use kernel_vfs::Result;

/// Longest argument or environment string with its zero byte (`MAX_ARG_STRLEN`).
const STRING_MAX: usize = 128 << 10;
/// What the process always gets for arguments, whatever its stack limit (`ARG_MAX`).
const ARGUMENTS_MIN: u64 = 128 << 10;
/// What it gets at most: three quarters of the default stack.
const ARGUMENTS_MAX: u64 = 6 << 20;

/// What the processor and the platform say in the auxiliary vector.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuWords {
    /// `AT_HWCAP`: CPUID leaf 1 EDX.
    pub hwcap: u64,
    /// `AT_HWCAP2`: bit 1 says that `wrfsbase` may be used.
    pub hwcap2: u64,
    /// `AT_MINSIGSTKSZ`: size of a signal frame with the whole extended state.
    pub min_signal_stack: u64,
}

/// Most bytes of strings and pointers for a stack limit (execve(2), "Limits on size of arguments").
#[must_use]
pub fn argument_limit(stack_limit: u64) -> u64 {
    (stack_limit / 4).clamp(ARGUMENTS_MIN, ARGUMENTS_MAX)
}

/// What goes on the stack.
pub(crate) struct StackContents<'a> {
    pub(crate) argv: &'a [Vec<u8>],
    pub(crate) envp: &'a [Vec<u8>],
    pub(crate) exec_name: &'a [u8],
    pub(crate) random: [u8; 16],
    /// Random bytes to leave between strings and vectors, below 8 KiB.
    pub(crate) jitter: u64,
    /// Entries but `AT_RANDOM`, `AT_EXECFN`, `AT_PLATFORM`, whose values are filled in, and `AT_NULL`.
    pub(crate) auxv: &'a [(u32, u64)],
}

/// The built stack: bytes to write so that they end at the stack's top.
pub(crate) struct BuiltStack {
    pub(crate) bytes: Vec<u8>,
    /// Address of the first byte, the initial stack pointer.
    pub(crate) sp: u64,
    pub(crate) arg_start: u64,
    pub(crate) arg_end: u64,
    pub(crate) env_end: u64,
}

/// Checks the limits before anything is built.
///
/// # Errors
/// `E2BIG`.
pub(crate) fn check_arguments(argv: &[Vec<u8>], envp: &[Vec<u8>], limit: u64) -> Result<()> {
    let mut total = 0u64;
    for text in argv.iter().chain(envp) {
        if text.len() >= STRING_MAX {
            return Err(Errno::E2BIG);
        }
        // The string, its zero byte, its pointer.
        total += text.len() as u64 + 9;
    }
    if total > limit {
        return Err(Errno::E2BIG);
    }
    Ok(())
}

impl StackContents<'_> {
    /// Builds the stack below `top`.
    pub(crate) fn build(&self, top: u64) -> BuiltStack {
        let mut strings = Vec::new();
        let mut offsets = Vec::new();
        for text in self.argv.iter().chain(self.envp) {
            offsets.push(strings.len() as u64);
            push_string(&mut strings, text);
        }
        let arg_bytes: usize = self.argv.iter().map(|a| a.len() + 1).sum();
        let env_end = strings.len() as u64;
        let exec_name = strings.len() as u64;
        push_string(&mut strings, self.exec_name);
        strings.extend([0; 8]);

        let strings_at = top - strings.len() as u64;
        let below = (strings_at - self.jitter) & !15;
        let platform_at = below - 16;
        let random_at = platform_at - 16;
        let (args, envs) = offsets.split_at(self.argv.len());
        let mut words = vec![self.argv.len() as u64];
        words.extend(args.iter().map(|o| strings_at + o));
        words.push(0);
        words.extend(envs.iter().map(|o| strings_at + o));
        words.push(0);
        for &(key, value) in self.auxv {
            let value = match key {
                auxvec::AT_RANDOM => random_at,
                auxvec::AT_EXECFN => strings_at + exec_name,
                auxvec::AT_PLATFORM => platform_at,
                _ => value,
            };
            words.extend([u64::from(key), value]);
        }
        words.extend([0, 0]);
        let sp = (random_at - words.len() as u64 * 8) & !15;

        let mut bytes = Vec::new();
        let mut put = |at: u64, data: &[u8]| {
            let at = usize::try_from(at - sp).unwrap_or(usize::MAX);
            bytes.resize(at.max(bytes.len()), 0);
            bytes.extend_from_slice(data);
        };
        for (at, word) in (sp..).step_by(8).zip(&words) {
            put(at, &word.to_le_bytes());
        }
        put(random_at, &self.random);
        put(platform_at, b"x86_64\0");
        put(strings_at, &strings);
        BuiltStack {
            bytes,
            sp,
            arg_start: strings_at,
            arg_end: strings_at + arg_bytes as u64,
            env_end: strings_at + env_end,
        }
    }
}

fn push_string(to: &mut Vec<u8>, text: &[u8]) {
    to.extend_from_slice(text);
    to.push(0);
}
