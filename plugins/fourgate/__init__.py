"""What Fourgate adds to Airflow. Imports Airflow and `ml.settings` only, and is cheap to import."""
