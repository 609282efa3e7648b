//! The registry itself: opening, looking up, and the one place where memory changes.
//!
//! Lock order: `changes` before `functions`. `functions` is never held over an await.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use parking_lot::RwLock;
use proto_lambda::{AccountLimit, AccountSettings, AccountUsage, FunctionRef, limits};
use proto_node::{CodeRef, Revision};
use tokio::sync::Mutex;

use crate::{
    CodeError, CodeStore, Config, FindError, Function, FunctionRecord, OpenError, Retired,
    SqliteStore, Store, StoreError, StoredCode,
    entry::{Draw, Entry},
    record::arn,
    store::Stored,
};

/// Functions, their versions, aliases, code and tags.
pub struct Registry {
    pub(crate) config: Config,
    pub(crate) store: Box<dyn Store>,
    pub(crate) code: Arc<CodeStore>,
    pub(crate) functions: RwLock<BTreeMap<String, Entry>>,
    /// Held by whoever changes a function, from the look at it until the change is in memory.
    pub(crate) changes: Mutex<()>,
}

impl Registry {
    /// Opens the registry in `config.data` with its embedded store.
    pub async fn open(config: Config) -> Result<Self, OpenError> {
        let data = config.data.clone();
        let (store, code) = tokio::task::spawn_blocking(move || open_directory(&data)).await??;
        Self::with_store(config, Box::new(store), code).await
    }

    /// Opens the registry over any store.
    pub async fn with_store(
        config: Config,
        store: Box<dyn Store>,
        code: CodeStore,
    ) -> Result<Self, OpenError> {
        let stored = store.load().await?;
        let code = Arc::new(code);
        let loaded_code = Arc::clone(&code);
        let loaded_config = config.clone();
        let functions = tokio::task::spawn_blocking(move || {
            let functions = load(stored, &loaded_code, &loaded_config);
            loaded_code.collect();
            functions
        })
        .await?;
        tracing::info!(functions = functions.len(), data = %config.data.display(), "registry opened");
        Ok(Self {
            config,
            store,
            code,
            functions: RwLock::new(functions),
            changes: Mutex::new(()),
        })
    }

    /// The version that a client named; of an alias, its own version, whatever the weights.
    pub fn find(&self, wanted: &FunctionRef) -> Result<Arc<Function>, FindError> {
        self.route(wanted, Draw::Own)
    }

    /// The version that serves an invocation; `draw` decides between the two versions of an alias.
    pub fn route(&self, wanted: &FunctionRef, draw: Draw) -> Result<Arc<Function>, FindError> {
        self.check_place(wanted)?;
        self.functions
            .read()
            .get(&wanted.name)
            .and_then(|entry| entry.named(wanted.qualifier.as_ref(), draw))
            .cloned()
            .ok_or_else(|| self.not_found(wanted))
    }

    /// `$LATEST` and the versions of a function.
    pub fn versions_of(&self, name: &str) -> Vec<Arc<Function>> {
        let functions = self.functions.read();
        let versions = functions.get(name).into_iter().flat_map(Entry::all);
        versions.cloned().collect()
    }

    /// What nodes know of all versions of all functions.
    pub fn revisions(&self) -> BTreeSet<Revision> {
        let functions = self.functions.read();
        let all = functions.values().flat_map(Entry::all);
        all.map(|function| function.record.revision.clone())
            .collect()
    }

    /// All code that functions have.
    pub fn codes(&self) -> BTreeSet<CodeRef> {
        self.code.references()
    }

    /// The versions that are these revisions.
    pub fn with_revisions(&self, wanted: &BTreeSet<Revision>) -> Vec<Arc<Function>> {
        let functions = self.functions.read();
        let all = functions.values().flat_map(Entry::all);
        all.filter(|function| wanted.contains(&function.record.revision))
            .cloned()
            .collect()
    }

    /// A version of the function whose code has this hash.
    pub fn with_code(&self, name: &str, sha256: &str) -> Option<Arc<Function>> {
        let functions = self.functions.read();
        let mut versions = functions.get(name)?.all();
        versions
            .find(|function| function.code.sha256() == sha256)
            .cloned()
    }

    /// Checks that a name points to this region and this account, as far as it says.
    pub(crate) fn check_place(&self, wanted: &FunctionRef) -> Result<(), FindError> {
        let ours = &self.config;
        if let Some(region) = &wanted.region
            && *region != ours.region
        {
            return Err(FindError::OtherRegion {
                wanted: region.clone(),
                ours: ours.region.clone(),
            });
        }
        match &wanted.account {
            Some(account) if *account != ours.account => Err(self.not_found(wanted)),
            _ => Ok(()),
        }
    }

    pub(crate) fn not_found(&self, wanted: &FunctionRef) -> FindError {
        FindError::NotFound {
            arn: self.arn_of(wanted),
        }
    }

    /// The ARN by which a client named a function, complete.
    pub fn arn_of(&self, wanted: &FunctionRef) -> String {
        let mut config = self.config.clone();
        if let Some(account) = &wanted.account {
            config.account.clone_from(account);
        }
        arn(&wanted.name, wanted.qualifier.as_ref(), &config)
    }

    /// `$LATEST` of up to `count` functions in the order of their names, after `after`.
    pub fn page(&self, after: Option<&str>, count: usize) -> Vec<Arc<Function>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let functions = self.functions.read();
        let start = after.map_or(Unbounded, Excluded);
        functions
            .range::<str, _>((start, Unbounded))
            .take(count)
            .map(|(_, entry)| Arc::clone(&entry.latest))
            .collect()
    }

    /// Account in every ARN: twelve digits.
    pub fn account(&self) -> &str {
        &self.config.account
    }

    /// Region in every ARN.
    pub fn region(&self) -> &str {
        &self.config.region
    }

    /// Limits and use of the account. `concurrency` is what the node can run at once.
    pub fn account_settings(&self, concurrency: u32) -> AccountSettings {
        let functions = self.functions.read();
        AccountSettings {
            account_limit: AccountLimit {
                total_code_size: limits::TOTAL_CODE_BYTES,
                code_size_unzipped: limits::UNZIPPED_BYTES,
                code_size_zipped: limits::ZIPPED_BYTES,
                concurrent_executions: concurrency,
                unreserved_concurrent_executions: concurrency,
            },
            account_usage: AccountUsage {
                total_code_size: functions
                    .values()
                    .flat_map(Entry::all)
                    .map(|function| function.code.takes())
                    .sum(),
                function_count: functions.len() as u64,
            },
        }
    }

    /// Removes the code of retired revisions once nothing refers to it; what nodes may remove, too.
    pub async fn collect(&self, retired: Retired) -> Vec<CodeRef> {
        let code = Arc::clone(&self.code);
        let work = tokio::task::spawn_blocking(move || {
            drop(retired);
            code.collect()
        });
        work.await.unwrap_or_else(|error| {
            tracing::warn!(%error, "collecting old code was interrupted");
            Vec::new()
        })
    }

    /// Adds a function: stored first, then visible. The caller holds `changes`.
    pub(crate) async fn insert(
        &self,
        latest: Function,
        published: Option<Arc<Function>>,
    ) -> Result<Arc<Function>, StoreError> {
        let version = published.as_ref().map(|version| version.record.clone());
        self.store.insert(latest.record.clone(), version).await?;
        Ok(self.show(latest, published))
    }

    /// Replaces `$LATEST`: stored first, then visible. The caller holds `changes`.
    pub(crate) async fn replace(
        &self,
        old: &Function,
        latest: Function,
        published: Option<Arc<Function>>,
    ) -> Result<Arc<Function>, StoreError> {
        let version = published.as_ref().map(|version| version.record.clone());
        self.store
            .replace(
                latest.record.clone(),
                old.record.revision_id.clone(),
                version,
            )
            .await?;
        Ok(self.show(latest, published))
    }

    /// Removes a function: stored first, then invisible. The caller holds `changes`.
    pub(crate) async fn remove(&self, old: &Function) -> Result<Option<Entry>, StoreError> {
        self.store
            .remove(old.record.name.clone(), old.record.revision_id.clone())
            .await?;
        Ok(self.functions.write().remove(&old.record.name))
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.functions.read().contains_key(name)
    }

    fn show(&self, latest: Function, published: Option<Arc<Function>>) -> Arc<Function> {
        let latest = Arc::new(latest);
        let mut functions = self.functions.write();
        let entry = functions
            .entry(latest.record.name.clone())
            .or_insert_with(|| Entry::new(Arc::clone(&latest)));
        entry.latest = Arc::clone(&latest);
        if let Some(version) = published
            && let Some(number) = version.record.version
        {
            entry.versions.insert(number, version);
        }
        latest
    }

    /// Checks and stores a zip on a thread that may block.
    pub(crate) async fn store_code(
        &self,
        zip: proto_lambda::Zip,
    ) -> Result<Arc<StoredCode>, CodeError> {
        let code = Arc::clone(&self.code);
        let stored = tokio::task::spawn_blocking(move || code.put(&zip.0)).await;
        stored?
    }

    /// Checks a zip on a thread that may block.
    pub(crate) async fn check_code(&self, zip: proto_lambda::Zip) -> Result<(), CodeError> {
        let checked = tokio::task::spawn_blocking(move || proto_archive::check(&zip.0)).await;
        checked??;
        Ok(())
    }
}

fn open_directory(data: &Path) -> Result<(SqliteStore, CodeStore), OpenError> {
    // Opening the code store makes the directory; the database's lock then keeps others out, so
    // it comes first in time but needs the directory to be there.
    std::fs::create_dir_all(data).map_err(|source| CodeError::Io {
        doing: "make",
        path: data.to_owned(),
        source,
    })?;
    let store = SqliteStore::open(&data.join("registry.sqlite"))?;
    let code = CodeStore::open(&data.join("code"))?;
    Ok((store, code))
}

fn load(stored: Stored, code: &CodeStore, config: &Config) -> BTreeMap<String, Entry> {
    let with_code = |record: FunctionRecord| {
        let stored = code
            .restore(&record.code_sha256, record.code_size, record.code_unpacked)
            .unwrap_or_else(|error| {
                let error = &error as &dyn std::error::Error;
                tracing::error!(
                    function = record.name,
                    version = record.version_text(),
                    error,
                    "code is lost; the function cannot run"
                );
                code.lost(&record.code_sha256, record.code_size)
            });
        Arc::new(Function::new(record, stored, config))
    };
    let mut entries: BTreeMap<String, Entry> = stored
        .functions
        .into_iter()
        .map(|record| (record.name.clone(), Entry::new(with_code(record))))
        .collect();
    for record in stored.versions {
        if let Some(entry) = entries.get_mut(&record.name)
            && let Some(number) = record.version
        {
            entry.versions.insert(number, with_code(record));
        }
    }
    for alias in stored.aliases {
        if let Some(entry) = entries.get_mut(&alias.function) {
            entry.aliases.insert(alias.name.clone(), Arc::new(alias));
        }
    }
    entries
}
