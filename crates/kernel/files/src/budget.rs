//! Shared allowances: what all objects of one kind in a sandbox may hold together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base_abi::Errno;

/// The allowance is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("allowance of {limit} used up")]
pub struct Exhausted {
    /// The limit in the budget's unit.
    pub limit: u64,
}

impl From<Exhausted> for Errno {
    fn from(_: Exhausted) -> Errno {
        Errno::ENOMEM
    }
}

#[derive(Debug)]
struct Account {
    limit: u64,
    used: AtomicU64,
}

/// A limit shared by many objects, in a unit its owner chooses (bytes, pages, objects).
#[derive(Clone, Debug)]
pub struct Budget(Arc<Account>);

impl Budget {
    /// A budget of `limit` units.
    #[must_use]
    pub fn new(limit: u64) -> Budget {
        Budget(Arc::new(Account {
            limit,
            used: AtomicU64::new(0),
        }))
    }

    /// Takes `amount` units until the charge is dropped.
    ///
    /// # Errors
    /// [`Exhausted`] when less is left.
    pub fn charge(&self, amount: u64) -> Result<Charge, Exhausted> {
        self.take(amount)?;
        Ok(Charge {
            budget: self.clone(),
            amount,
        })
    }

    /// Units in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.0.used.load(Ordering::Relaxed)
    }

    /// Units in all.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.0.limit
    }

    fn take(&self, amount: u64) -> Result<(), Exhausted> {
        let limit = self.0.limit;
        let step = |used: u64| used.checked_add(amount).filter(|sum| *sum <= limit);
        let taken = self
            .0
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
        taken.map(|_| ()).map_err(|_| Exhausted { limit })
    }

    fn give(&self, amount: u64) {
        self.0.used.fetch_sub(amount, Ordering::Relaxed);
    }
}

/// A share of a budget, given back when dropped.
#[derive(Debug)]
pub struct Charge {
    budget: Budget,
    amount: u64,
}

impl Charge {
    /// Changes the share to `amount` units; unchanged on failure.
    ///
    /// # Errors
    /// [`Exhausted`] when the growth does not fit.
    pub fn resize(&mut self, amount: u64) -> Result<(), Exhausted> {
        if amount > self.amount {
            self.budget.take(amount - self.amount)?;
        } else {
            self.budget.give(self.amount - amount);
        }
        self.amount = amount;
        Ok(())
    }

    /// Units held.
    #[must_use]
    pub fn amount(&self) -> u64 {
        self.amount
    }

    /// The budget it is a share of.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.budget
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.give(self.amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_are_bounded_and_returned() {
        let budget = Budget::new(10);
        let mut a = budget.charge(6).unwrap();
        assert_eq!(budget.charge(5).unwrap_err(), Exhausted { limit: 10 });
        a.resize(9).unwrap();
        assert!(a.resize(11).is_err());
        assert_eq!(a.amount(), 9);
        a.resize(1).unwrap();
        assert_eq!(budget.used(), 1);
        drop(a);
        assert_eq!(budget.used(), 0);
        assert!(budget.charge(u64::MAX).is_err());
    }
}
