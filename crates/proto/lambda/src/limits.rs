//! Limits of the API in one place, each with its source: the service model or the quotas page.

/// Longest function name in characters.
pub const NAME_CHARS: usize = 64;
/// Longest `FunctionName` member of CreateFunction and of the updates, ARN included.
pub const NAME_OR_ARN_CHARS: usize = 140;
/// Longest `FunctionName` in a path of Get, Delete and Invoke.
pub const NAMESPACED_NAME_CHARS: usize = 256;
/// Longest qualifier in characters.
pub const QUALIFIER_CHARS: usize = 128;
/// Longest description in characters.
pub const DESCRIPTION_CHARS: usize = 256;
/// Longest handler in characters.
pub const HANDLER_CHARS: usize = 128;
/// Shortest and longest time limit in seconds.
pub const TIMEOUT_SECONDS: (i64, i64) = (1, 900);
/// Time limit in seconds when none is given.
pub const DEFAULT_TIMEOUT_SECONDS: u32 = 3;
/// Smallest and largest memory size in MiB.
pub const MEMORY_MB: (i64, i64) = (128, 10_240);
/// Memory size in MiB when none is given.
pub const DEFAULT_MEMORY_MB: u32 = 128;
/// Smallest and largest ephemeral storage in MiB.
pub const EPHEMERAL_STORAGE_MB: (i64, i64) = (512, 10_240);
/// Ephemeral storage in MiB when none is given.
pub const DEFAULT_EPHEMERAL_STORAGE_MB: u32 = 512;
/// Longest JSON form of all environment variables in bytes ("4 KB").
pub const ENVIRONMENT_BYTES: usize = 4096;
/// Longest log group name in characters.
pub const LOG_GROUP_CHARS: usize = 512;
/// Longest version number in an alias, in characters.
pub const VERSION_CHARS: usize = 1024;
/// Most versions of one function; AWS bounds them by code storage alone.
pub const VERSIONS: usize = 10_000;
/// Most aliases of one function.
pub const ALIASES: usize = 1000;
/// Most tags on one function.
pub const TAGS: usize = 50;
/// Longest tag key in characters.
pub const TAG_KEY_CHARS: usize = 128;
/// Longest tag value in characters.
pub const TAG_VALUE_CHARS: usize = 256;
/// Largest unpacked code in bytes (250 MiB).
pub const UNZIPPED_BYTES: u64 = 262_144_000;
/// Largest zip sent inline in bytes (50 MiB).
pub const ZIPPED_BYTES: u64 = 52_428_800;
/// Largest body of CreateFunction and UpdateFunctionCode in bytes: 50 MiB in base64 and some room.
pub const CODE_REQUEST_BYTES: usize = 70_167_211;
/// Largest body of every other control operation in bytes.
pub const CONTROL_REQUEST_BYTES: usize = 1024 * 1024;
/// Largest event of a synchronous invocation in bytes (6 MiB).
pub const EVENT_BYTES: usize = 6_291_456;
/// Most bytes of an answer that a function streams (200 MiB; "200 MB" on the quotas page).
pub const STREAMED_BYTES: u64 = 209_715_200;
/// Largest `X-Amz-Client-Context` header in bytes.
pub const CLIENT_CONTEXT_BYTES: usize = 3583;
/// Most items on one page of a list.
pub const PAGE_ITEMS: usize = 50;
/// Largest `MaxItems` that may be asked for.
pub const MAX_ITEMS: (i64, i64) = (1, 10_000);
/// Code storage of the account in bytes as GetAccountSettings tells it (75 GiB).
pub const TOTAL_CODE_BYTES: u64 = 80_530_636_800;
