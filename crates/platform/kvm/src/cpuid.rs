//! The processor that guests see: named features and nothing of the host.
//!
//! Snapshots move between hosts, so guests see features from a fixed list, as far as the host has them; no
//! hypervisor, no topology, no counters, nothing that needs ring 0.

use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2};
use kvm_ioctls::Kvm;
use platform_api::PlatformError;

use crate::machine::refused;

/// x87, SSE, AVX, and the three parts of AVX-512 (Intel SDM vol. 1, 13.1).
const XCR0: u64 = 0xe7;
const XCR0_LEGACY: u64 = 3;
const XCR0_AVX512: u64 = 0xe0;

/// Leaf 1: SSE3 PCLMULQDQ SSSE3 FMA CX16 SSE4.1 SSE4.2 MOVBE POPCNT AES XSAVE OSXSAVE AVX F16C RDRAND.
const LEAF1_ECX: u32 = 1
    | 1 << 1
    | 1 << 9
    | 1 << 12
    | 1 << 13
    | 1 << 19
    | 1 << 20
    | 1 << 22
    | 1 << 23
    | 1 << 25
    | 1 << 26
    | 1 << 27
    | 1 << 28
    | 1 << 29
    | 1 << 30;
/// Leaf 1: FPU DE PSE TSC MSR PAE CX8 SEP PGE CMOV PAT CLFLUSH MMX FXSR SSE SSE2.
const LEAF1_EDX: u32 = 1
    | 1 << 2
    | 1 << 3
    | 1 << 4
    | 1 << 5
    | 1 << 6
    | 1 << 8
    | 1 << 11
    | 1 << 13
    | 1 << 15
    | 1 << 16
    | 1 << 19
    | 1 << 23
    | 1 << 24
    | 1 << 25
    | 1 << 26;
/// Leaf 7: FSGSBASE BMI1 AVX2 SMEP BMI2 ERMS AVX512F/DQ RDSEED ADX SMAP AVX512IFMA CLFLUSHOPT CLWB AVX512CD SHA AVX512BW/VL.
const LEAF7_EBX: u32 = 1
    | 1 << 3
    | 1 << 5
    | 1 << 7
    | 1 << 8
    | 1 << 9
    | 1 << 16
    | 1 << 17
    | 1 << 18
    | 1 << 19
    | 1 << 20
    | 1 << 21
    | 1 << 23
    | 1 << 24
    | 1 << 28
    | 1 << 29
    | 1 << 30
    | 1 << 31;
/// Leaf 7: AVX512VBMI UMIP AVX512VBMI2 GFNI VAES VPCLMULQDQ AVX512VNNI AVX512BITALG AVX512VPOPCNTDQ.
const LEAF7_ECX: u32 =
    1 << 1 | 1 << 2 | 1 << 6 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 14;
/// Leaf 7: FSRM.
const LEAF7_EDX: u32 = 1 << 4;
/// Leaf 0x80000001: LAHF ABM(LZCNT) PREFETCHW.
const EXTENDED_ECX: u32 = 1 | 1 << 5 | 1 << 8;
/// Leaf 0x80000001: SYSCALL NX RDTSCP LM.
const EXTENDED_EDX: u32 = 1 << 11 | 1 << 20 | 1 << 27 | 1 << 29;
/// Leaf 0xd: XSAVEOPT XSAVEC XGETBV1.
const XSAVE_WAYS: u32 = 7;

const AVX_ECX: u32 = 1 << 28;

/// What the rest of the platform needs to know of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuModel {
    pub(crate) xcr0: u64,
    /// Bytes of an XSAVE area in standard format with those parts.
    pub(crate) xstate_size: usize,
    pub(crate) fsgsbase: bool,
    pub(crate) smep: bool,
    pub(crate) smap: bool,
    pub(crate) umip: bool,
}

/// The model for a host, and the leaves that say so to guests.
pub(crate) fn model(kvm: &Kvm) -> Result<(CpuId, CpuModel), PlatformError> {
    let mut cpuid = kvm
        .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
        .map_err(refused("ask which processor features there are"))?;
    let leaf = |function: u32, index: u32| {
        let found = cpuid
            .as_slice()
            .iter()
            .find(|e| e.function == function && e.index == index);
        found.copied().unwrap_or_default()
    };
    let parts = leaf(0xd, 0);
    let mut xcr0 = (u64::from(parts.eax) | u64::from(parts.edx) << 32) & XCR0;
    if leaf(1, 0).ecx & AVX_ECX == 0 {
        xcr0 &= XCR0_LEGACY;
    }
    if xcr0 & XCR0_AVX512 != XCR0_AVX512 {
        xcr0 &= !XCR0_AVX512;
    }
    let end = |part: u32| {
        let entry = leaf(0xd, part);
        (entry.ebx + entry.eax) as usize
    };
    let xstate_size = (2..64u32)
        .filter(|part| xcr0 & 1 << part != 0)
        .map(end)
        .fold(576, usize::max);
    let seven = leaf(7, 0);
    let model = CpuModel {
        xcr0,
        xstate_size,
        fsgsbase: seven.ebx & 1 != 0,
        smep: seven.ebx & 1 << 7 != 0,
        smap: seven.ebx & 1 << 20 != 0,
        umip: seven.ecx & 1 << 2 != 0,
    };
    for entry in cpuid.as_mut_slice() {
        filter(entry, &model);
    }
    Ok((cpuid, model))
}

fn filter(entry: &mut kvm_cpuid_entry2, model: &CpuModel) {
    let avx512 = model.xcr0 & XCR0_AVX512 != 0;
    match (entry.function, entry.index) {
        (0, _) => entry.eax = entry.eax.min(0x16),
        (1, _) => {
            // One processor with number 0; CLFLUSH size stays.
            entry.ebx = entry.ebx & 0xff00 | 1 << 16;
            entry.ecx &= LEAF1_ECX;
            entry.edx &= LEAF1_EDX;
        }
        (2 | 4, _) => {
            // Caches: how many processors share them stays hidden.
            if entry.function == 4 {
                entry.eax &= 0x3fff;
            }
        }
        (7, 0) => {
            entry.eax = 0;
            entry.ebx &= LEAF7_EBX;
            entry.ecx &= LEAF7_ECX;
            entry.edx &= LEAF7_EDX;
            if !avx512 {
                entry.ebx &= !(1 << 16 | 1 << 17 | 1 << 21 | 1 << 28 | 1 << 30 | 1 << 31);
                entry.ecx &= !(1 << 1 | 1 << 6 | 1 << 11 | 1 << 12 | 1 << 14);
            }
        }
        (0xd, 0) => {
            entry.eax &= model.xcr0 as u32;
            entry.edx &= (model.xcr0 >> 32) as u32;
            entry.ebx = model.xstate_size as u32;
            entry.ecx = model.xstate_size as u32;
        }
        (0xd, 1) => {
            entry.eax &= XSAVE_WAYS;
            (entry.ebx, entry.ecx, entry.edx) = (0, 0, 0);
        }
        (0xd, part @ 2..64) if model.xcr0 & 1 << part != 0 => {}
        (0x8000_0001, _) => {
            entry.ecx &= EXTENDED_ECX;
            entry.edx &= EXTENDED_EDX;
        }
        // Names, sizes of addresses, the invariant counter.
        (0x8000_0000 | 0x8000_0002..=0x8000_0006, _) => {}
        (0x8000_0007, _) => {
            entry.edx &= 1 << 8;
            (entry.eax, entry.ebx, entry.ecx) = (0, 0, 0);
        }
        (0x8000_0008, _) => {
            entry.eax &= 0xffff;
            (entry.ebx, entry.ecx, entry.edx) = (0, 0, 0);
        }
        (0x15 | 0x16, _) => {}
        _ => (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0),
    }
}
