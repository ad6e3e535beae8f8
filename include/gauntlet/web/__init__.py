"""The page inside the Airflow UI. Airflow's auth is handed in by the plugin; this package never imports it."""
