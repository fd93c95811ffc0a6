"""From raw interaction files to RecBole atomic files with the paper's splits: ``python -m dataset_prep``."""
