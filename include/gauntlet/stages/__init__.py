"""The imperative shell: one file per task; read records, call core, write record and audit."""
