"""The report of a study: sentences, tables and plots, made from its run folders alone, without torch."""
