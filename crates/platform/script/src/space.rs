//! Address spaces of plain memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base_abi::Errno;
use parking_lot::Mutex;
use platform_api::{AddressSpace, ApplyError, Context, CpuState, MapOp, PlatformError};

use crate::Stage;
use crate::context::ScriptContext;
use crate::memory::Memory;

/// Dropping it makes its contexts gone.
pub(crate) struct ScriptSpace {
    stage: Arc<Stage>,
    memory: Mutex<Memory>,
    alive: Arc<AtomicBool>,
}

impl ScriptSpace {
    pub(crate) fn new(stage: Arc<Stage>) -> ScriptSpace {
        ScriptSpace {
            stage,
            memory: Mutex::default(),
            alive: Arc::new(AtomicBool::new(true)),
        }
    }
}

impl Drop for ScriptSpace {
    fn drop(&mut self) {
        self.alive.store(false, Ordering::SeqCst);
    }
}

impl AddressSpace for ScriptSpace {
    fn apply(&self, ops: &[MapOp]) -> Result<(), ApplyError> {
        let mut memory = self.memory.lock();
        ops.iter().enumerate().try_for_each(|(index, op)| {
            memory
                .apply(op)
                .map_err(|errno| ApplyError { index, errno })
        })
    }

    fn read(&self, addr: u64, buf: &mut [u8]) -> usize {
        self.memory.lock().read(addr, buf)
    }

    fn write(&self, addr: u64, data: &[u8]) -> usize {
        self.memory.lock().write(addr, data)
    }

    fn compare_exchange_u32(&self, addr: u64, current: u32, new: u32) -> Result<u32, Errno> {
        let mut memory = self.memory.lock();
        let mut word = [0; 4];
        if !addr.is_multiple_of(4) || memory.read(addr, &mut word) != 4 {
            return Err(Errno::EFAULT);
        }
        let found = u32::from_le_bytes(word);
        // Written back unchanged otherwise, since a word that cannot be written is EFAULT either way.
        let value = if found == current { new } else { found };
        if memory.write(addr, &value.to_le_bytes()) == 4 {
            Ok(found)
        } else {
            Err(Errno::EFAULT)
        }
    }

    fn fork(&self) -> Result<Arc<dyn AddressSpace>, PlatformError> {
        let memory = Mutex::new(self.memory.lock().clone());
        Ok(Arc::new(ScriptSpace {
            stage: self.stage.clone(),
            memory,
            alive: Arc::new(AtomicBool::new(true)),
        }))
    }

    fn new_context(&self, state: CpuState) -> Result<Box<dyn Context>, PlatformError> {
        Ok(Box::new(ScriptContext::new(
            self.stage.clone(),
            self.alive.clone(),
            state,
        )))
    }

    fn resident_bytes(&self) -> u64 {
        self.memory.lock().private_bytes()
    }
}
